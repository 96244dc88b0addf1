"""The values that records hold and questions are asked in: money, periods, ids, time and text keys.

The lowest floor but the errors: plain functions and frozen classes that know no record, no storage and no plugin.
"""

from __future__ import annotations

from crm_core.values.calendar import UNITS, Calendar, GregorianCalendar, Unit
from crm_core.values.clock import Clock, FixedClock, SystemClock, from_micros, local_midnight, to_micros
from crm_core.values.garbage import few_collections
from crm_core.values.ids import ending_mask, format_id, id_time, new_id, new_ids, parse_id
from crm_core.values.keys import ascii_digits, email_key, phone_key, strip_marks, text_key
from crm_core.values.money import Money, exponent, money_text
from crm_core.values.period import Bounds, Period, around, buckets

__all__ = [
    "UNITS",
    "Bounds",
    "Calendar",
    "Clock",
    "FixedClock",
    "GregorianCalendar",
    "Money",
    "Period",
    "SystemClock",
    "Unit",
    "around",
    "ascii_digits",
    "buckets",
    "email_key",
    "ending_mask",
    "exponent",
    "few_collections",
    "format_id",
    "from_micros",
    "id_time",
    "local_midnight",
    "money_text",
    "new_id",
    "new_ids",
    "parse_id",
    "phone_key",
    "strip_marks",
    "text_key",
    "to_micros",
]
