"""What the number formats of a spreadsheet make of a number: a day, a time, or a number as it stands."""

from __future__ import annotations

import re
from typing import Final, Literal

Style = Literal["date", "moment", "time", "elapsed"]


def kind_of(code: str) -> Style | None:
    """Say what a number format makes of a number: a day, a moment, a time of day, a length of time, or none of them.

    >>> [kind_of(code) for code in ("0.00", "yyyy-mm-dd", "d/m/yy h:mm", "h:mm AM/PM", "[h]:mm", '0 "days"')]
    [None, 'date', 'moment', 'time', 'elapsed', None]
    """
    plain = re.sub(r'"[^"]*"|\\.|_.|\*.', "", code.split(";")[0]).lower()
    if re.search(r"\[(?:h+|m+|s+)\]", plain):
        return "elapsed"
    plain = re.sub(r"\[[^\]]*\]|am/pm|a/p|general", "", plain)
    timed = re.search(r"[hs]", plain) is not None
    months = re.sub(r"h+[^a-z]*m+|m+[^a-z]*s", "", plain)
    dated = re.search(r"[yd]", plain) is not None or ("m" in months if timed else "m" in plain)
    return "moment" if timed and dated else "time" if timed else "date" if dated else None


# Of ECMA-376 part 1, 18.8.30: the formats that a file need not spell out, those of East Asia among them.
BUILT_IN: Final[dict[str, Style]] = {
    **{str(number): "date" for number in (*range(14, 18), *range(27, 32), 36, *range(50, 55), 57, 58)},
    **{str(number): "time" for number in (18, 19, 20, 21, 32, 33, 34, 35, 45, 47)},
    **{str(number): "moment" for number in (22, 55, 56)},  # 55 and 56 are days in Japan and times in China
    "46": "elapsed",
}
