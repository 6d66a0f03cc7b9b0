#!/usr/bin/env bash
# A Ceph RGW on loopback, for the conformance suite of the stores: one mon, one osd and the gateway, without systemd.
#
#   apt-get install -y --no-install-recommends ceph-mon ceph-osd radosgw ceph-common     (Debian 12: RGW 16.2, 290 MB)
#   tests/support/rgw.sh FOLDER PORT         about 17 s; prints the daemons' pids, which end it; FOLDER is made anew
#   CALLSPOOL_TEST_S3=http://127.0.0.1:PORT .venv/bin/python -m pytest -q tests/edges/test_stores.py
set -euo pipefail
folder=$1 port=$2
test ! -e "$folder"
mkdir -p "$folder"/{mon/a,osd/0,run,log,rgw}
folder=$(realpath "$folder")
export CEPH_CONF=$folder/ceph.conf
fsid=$(cat /proc/sys/kernel/random/uuid)
cat > "$CEPH_CONF" <<CONF
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:3300,v1:127.0.0.1:6789]
mon initial members = a
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = $folder/keyring
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon warn on pool no redundancy = false
osd crush chooseleaf type = 0
mon max pg per osd = 1000
run dir = $folder/run
log file = $folder/log/\$name.log
admin socket = $folder/run/\$name.asok
pid file = $folder/run/\$name.pid
[mon.a]
mon data = $folder/mon/a
mon data avail crit = 1
mon data avail warn = 2
[osd.0]
osd data = $folder/osd/0
osd objectstore = bluestore
bluestore block size = 12884901888
osd memory target = 939524096
[client.rgw.a]
rgw data = $folder/rgw
rgw frontends = beast endpoint=127.0.0.1:$port
rgw dns name = localhost
CONF
ceph-authtool --create-keyring "$folder/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
ceph-authtool "$folder/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' >/dev/null
ceph-authtool "$folder/keyring" --gen-key -n client.rgw.a --cap mon 'allow *' --cap osd 'allow *' >/dev/null
ceph-authtool "$folder/keyring" --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *' >/dev/null
monmaptool --create --fsid "$fsid" --addv a '[v2:127.0.0.1:3300,v1:127.0.0.1:6789]' "$folder/monmap" >/dev/null
ceph-mon -i a --mkfs --monmap "$folder/monmap" --keyring "$folder/keyring"
ceph-mon -i a
ceph osd new "$(tee "$folder/osd/uuid" < /proc/sys/kernel/random/uuid)" 0 >/dev/null
ceph-osd -i 0 --mkfs --osd-uuid "$(cat "$folder/osd/uuid")" >/dev/null 2>&1
ceph-osd -i 0 >/dev/null 2>&1
ceph osd crush add-bucket default root >/dev/null 2>&1 || true
ceph osd crush add osd.0 1.0 root=default host=localhost >/dev/null 2>&1
radosgw -n client.rgw.a
for _ in $(seq 600); do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
  sleep 0.1
done
radosgw-admin -n client.rgw.a user create --uid=tests --display-name=tests \
  --access-key=AKTESTKEY --secret-key=SKTESTSECRET >/dev/null 2>&1
cat "$folder"/run/*.pid | tr '\n' ' '
