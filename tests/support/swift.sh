#!/usr/bin/env bash
# OpenStack Swift with its S3 API on loopback, for the conformance suite of the stores. As root, for Swift looks in /etc.
#
#   python3 -m venv swift && swift/bin/pip install swift 'setuptools<81'
#   PATH=$PWD/swift/bin:$PATH tests/support/swift.sh FOLDER PORT      four processes, whose pids it prints
#   CALLSPOOL_TEST_S3=http://test%3Atester:testing@127.0.0.1:PORT .venv/bin/python -m pytest -q tests/edges/test_stores.py
set -euo pipefail
folder=$1 port=$2
test ! -e "$folder"
test ! -e /etc/swift || test -L /etc/swift
mkdir -p "$folder"/{etc,dev/d1}
folder=$(realpath "$folder")
ln -sfn "$folder/etc" /etc/swift
printf '[swift-hash]\nswift_hash_path_suffix = x\n[storage-policy:0]\nname = default\ndefault = yes\n' > "$folder/etc/swift.conf"
for one in object:6200 container:6201 account:6202; do
  name=${one%:*}
  cat > "$folder/etc/$name-server.conf" <<CONF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${one#*:}
user = root
swift_dir = $folder/etc
devices = $folder/dev
mount_check = false
disable_fallocate = true
workers = 0
log_level = WARNING
[pipeline:main]
pipeline = $name-server
[app:$name-server]
use = egg:swift#$name
CONF
  (
    cd "$folder/etc"
    swift-ring-builder "$name.builder" create 4 1 1
    swift-ring-builder "$name.builder" add "r1z1-127.0.0.1:${one#*:}/d1" 100
    swift-ring-builder "$name.builder" rebalance
  ) >/dev/null 2>&1
done
filters="catch_errors proxy-logging cache listing_formats bulk tempurl s3api tempauth copy container-quotas"
filters="$filters account-quotas slo dlo versioned_writes symlink"
cat > "$folder/etc/proxy-server.conf" <<CONF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $port
user = root
swift_dir = $folder/etc
workers = 0
[pipeline:main]
pipeline = $filters proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
CONF
for filter in $filters; do
  use=${filter//-/_}
  test "$use" != cache || use=memcache
  printf '[filter:%s]\nuse = egg:swift#%s\n' "$filter" "$use"
  case $filter in
    tempauth) printf 'user_test_tester = testing .admin\n' ;;
    s3api) printf 's3_acl = false\ncheck_bucket_owner = false\nlocation = us-east-1\n' ;;
    versioned_writes) printf 'allow_object_versioning = true\n' ;;
  esac
done >> "$folder/etc/proxy-server.conf"
for name in object container account proxy; do
  setsid "swift-$name-server" "$folder/etc/$name-server.conf" > "$folder/$name.log" 2>&1 < /dev/null &
  printf '%s ' $!
done
for _ in $(seq 200); do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
  sleep 0.1
done
