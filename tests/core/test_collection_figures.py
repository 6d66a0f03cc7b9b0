"""The shapes of formats.md, sections 6 and 7: every digit, and every rounding."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from daemon.contract import Json
from handlers.collection.export import as_csv, as_json
from handlers.collection.figures import document, half_up, pace, row, statistics, summary
from handlers.collection.importing import NotThatForm, imported
from handlers.compress.verbs import savings_text
from handlers.records import Collected, CollectedSide, Day, Total

AT = datetime(2025, 10, 16, 17, 41, tzinfo=UTC)
MB = 2**20
UUID = "e587124c-02b6-49c5-b3bf-2610015da46a"


def sides() -> Collected:
    size, ms = 22_512_926, 703_400
    both = tuple(
        CollectedSide(side, f"{UUID}_{side}.wav", url, size, ms)
        for side, url in (("agent", "https://crm.example/1.wav"), ("customer", None))
    )
    return Collected(f"g:{UUID}", AT, ms, 2 * size, both)


def test_the_statistics_of_the_field() -> None:
    total = Total(13, 36_900_000, round(453.23 * MB), AT, AT)
    assert statistics(total, 100) == {
        "summary": {
            "total_conversations": 13,
            "total_hours": 10.25,
            "total_minutes": 615.0,
            "total_size_mb": 453.23,
            "total_size_gb": 0.44,
            "average_duration_minutes": 47.31,
            "average_size_mb": 34.86,
        },
        "progress": {
            "target_hours": 100,
            "current_hours": 10.25,
            "remaining_hours": 89.75,
            "progress_percentage": 10.3,
            "estimated_conversations_needed": 114,
            "target_reached": False,
        },
    }


def test_without_a_target_there_is_no_progress_and_nothing_is_divided_by_nothing() -> None:
    said = statistics(Total(), None)
    assert "progress" not in said
    assert statistics(Total(), 5)["progress"] == {
        "target_hours": 5,
        "current_hours": 0.0,
        "remaining_hours": 5.0,
        "progress_percentage": 0.0,
        "estimated_conversations_needed": None,
        "target_reached": False,
    }


def test_a_target_that_is_reached_needs_nothing_more() -> None:
    said = statistics(Total(2, 7_200_000, MB), 2)["progress"]
    assert said == {
        "target_hours": 2,
        "current_hours": 2.0,
        "remaining_hours": 0.0,
        "progress_percentage": 100.0,
        "estimated_conversations_needed": 0,
        "target_reached": True,
    }


@pytest.mark.parametrize(("value", "digits", "rounded"), [("10.25", 1, 10.3), ("0.125", 2, 0.13), ("2.5", 0, 3.0)])
def test_halves_are_rounded_up(value: str, digits: int, rounded: float) -> None:
    assert half_up(Fraction(value), digits) == rounded


def test_a_conversation_of_two_sides() -> None:
    assert document(sides(), "recordings", UTC) == {
        "conversation_id": UUID,
        "timestamp": "2025-10-16T17:41:00",
        "agent": {
            "filepath": f"recordings/{UUID}_agent.wav",
            "url": "https://crm.example/1.wav",
            "size_mb": 21.47,
            "duration_seconds": 703.4,
            "duration_minutes": 11.72,
        },
        "customer": {
            "filepath": f"recordings/{UUID}_customer.wav",
            "url": None,
            "size_mb": 21.47,
            "duration_seconds": 703.4,
            "duration_minutes": 11.72,
        },
        "total": {"size_mb": 42.94, "duration_seconds": 703.4, "duration_minutes": 11.72, "duration_hours": 0.1954},
    }


def test_a_missing_side_is_null_and_a_mixed_file_is_the_one_side() -> None:
    whole = sides()
    lone = Collected(whole.group, whole.at, whole.ms, whole.size, whole.sides[:1])
    assert document(lone, "recordings", UTC)["customer"] is None
    mixed = Collected("r7", AT, 1000, MB, (CollectedSide("mixed", "a/b-17.ogg", None, MB, 1000),))
    said = document(mixed, "recordings", UTC)
    assert list(said) == ["conversation_id", "timestamp", "mixed", "total"]
    assert said["conversation_id"] == "a/b-17"


def test_the_table_has_the_same_fields_flattened() -> None:
    header, cells = "".join(as_csv([document(sides(), "recordings", UTC)], mixed=False)).splitlines()
    assert header.split(",")[:3] == ["conversation_id", "timestamp", "agent_filepath"]
    assert header.split(",")[-1] == "total_duration_hours"
    assert len(cells.split(",")) == len(header.split(","))
    assert ",".join(cells.split(",")[-4:]) == "42.94,703.4,11.72,0.1954"


def test_no_cell_is_run_by_a_spreadsheet() -> None:
    said: dict[str, Json] = {"conversation_id": "=1+1", "timestamp": "2025"}
    assert row(said, ["conversation_id", "timestamp"]) == ["'=1+1", "2025"]


def test_an_empty_export_is_an_empty_array() -> None:
    assert "".join(as_json([])) == "[]\n"
    assert "".join(as_json([{"a": 1}, {"b": 2}])) == '[\n{"a": 1},\n{"b": 2}\n]\n'


def test_the_summary_of_a_day() -> None:
    assert summary("2025-10-29", Day(45, 43, 45, 12, 2, 47, 1250 * MB)) == {
        "date": "2025-10-29",
        "files_processed": 45,
        "recordings_uploaded": 43,
        "call_data_uploaded": 45,
        "leads_uploaded": 12,
        "failed_uploads": 2,
        "success_rate": "95.7%",
        "total_data_mb": 1250,
    }


def test_a_forecast_goes_on_at_the_pace_of_the_last_thirty_days() -> None:
    now = AT + timedelta(days=10)
    found = pace(Total(10, 36_000_000, 1, AT, now), 36_000_000, 20, now)
    assert found.forecast == now + timedelta(days=10)
    assert found.hours_per_hour == pytest.approx(10 / 240)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {},
        {"conversation_id": "a"},
        {"conversation_id": "a", "total": {"size_mb": 1}, "timestamp": "2025-10-16T17:41:00"},
        {"conversation_id": "a", "total": {"size_mb": 1, "duration_seconds": float("nan")}, "timestamp": "2025-10-16"},
        {"conversation_id": "a", "total": {"size_mb": 1, "duration_seconds": -1}, "timestamp": "2025-10-16"},
        {"conversation_id": "a", "total": {"size_mb": 1, "duration_seconds": 1}, "timestamp": "yesterday"},
    ],
)
def test_what_is_not_of_the_form_is_refused(entry: object) -> None:
    with pytest.raises(NotThatForm):
        imported(entry, UTC)


def test_what_was_exported_can_be_taken_in() -> None:
    taken = imported(document(sides(), "recordings", UTC), UTC)
    assert (taken.conversation_id, taken.at, taken.ms) == (UUID, AT, 703_400)
    assert taken.names == (f"{UUID}_agent.wav", f"{UUID}_customer.wav")


def test_savings_are_told_in_megabytes() -> None:
    said = savings_text({"total_size": 3 * MB, "compressed_size": MB, "original_size": 2 * MB, "savings": 5 * MB})
    assert [line.split()[-2] for line in said.splitlines()] == ["3.00", "1.00", "2.00", "5.00"]


def test_a_target_that_lies_thousands_of_years_ahead_has_no_day() -> None:
    now = AT + timedelta(days=29)
    assert pace(Total(1, 3000, 1, AT, AT), 3000, 1e9, now).forecast is None
