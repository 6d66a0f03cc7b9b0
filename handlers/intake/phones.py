"""Phone numbers, in E.164 or not at all."""

from __future__ import annotations

import re

LONGEST_TEXT = 80
"""Characters looked at; a SIP address with a number in it fits."""

_ADDRESS = re.compile(r"(?:tel|sips?|whatsapp|callto):", re.IGNORECASE)
_DIGITS_OF_E164 = re.compile(r"\d{11,15}")


def e164(value: object, region: str = "") -> str | None:
    """The number as ``+`` and digits, or None where ``value`` is none.

    ``_`` stands for ``+`` as in file names; ``tel:``, ``sip:`` and hosts are looked through. ``region`` (ISO 3166, such
    as ``IN``) reads numbers written without a country code; without it those count only where they are a whole
    international number, of a range given out, with the plus left off.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).strip() if isinstance(value, str) or abs(value) < 10**16 else ""
    if not text or len(text) > LONGEST_TEXT:
        return None
    address = _ADDRESS.match(text)
    if address is not None:
        text = text[address.end() :]
    text = text.split("@", 1)[0].split(";", 1)[0]
    if text.startswith("_"):
        text = "+" + text[1:]
    if text.startswith("+"):
        return _read(text, None)
    if text.startswith("00"):
        return _read("+" + text[2:], None, assigned=True) or _read(text, region)
    return _read(text, region, assigned=True) or _bare(text) or _read(text, region)


def _bare(text: str) -> str | None:
    """A whole international number without its plus."""
    digits = re.sub(r"[\s().-]", "", text)
    return _read("+" + digits, None, assigned=True) if _DIGITS_OF_E164.fullmatch(digits) else None


def _read(text: str, region: str | None, *, assigned: bool = False) -> str | None:
    """What phonenumbers makes of it: of a length its country knows or, ``assigned``, in a range given out."""
    if region == "":
        return None
    import phonenumbers  # a twentieth of what a verb like status takes to start, which reads no number

    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    good = phonenumbers.is_valid_number(number) if assigned else phonenumbers.is_possible_number(number)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) if good else None


def masked(number: str) -> str:
    """An E.164 number fit for logs: country code and last four digits, ``+91******6243``."""
    import phonenumbers

    try:
        code = f"+{phonenumbers.parse(number).country_code}"
    except phonenumbers.NumberParseException:
        code = ""
    return code + "*" * max(0, len(number) - len(code) - 4) + number[-4:]
