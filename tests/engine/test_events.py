from __future__ import annotations

import msgspec
import pytest

from admf.engine.errors import RegistryError
from admf.engine.events import (
    ENGINE_EVENTS,
    Dropped,
    Envelope,
    Event,
    EventRegistry,
    HandlerFailed,
    WindowEnd,
    WindowStart,
    event_name,
)


class Fill(Event, frozen=True, gc=False, tag="FILL"):
    price: float


def test_an_event_is_immutable_and_compares_by_value():
    fill = Fill(1, 2.0)
    with pytest.raises(AttributeError):
        fill.price = 3.0  # type: ignore[misc]
    assert fill == Fill(1, 2.0)
    assert len({fill, Fill(1, 2.0)}) == 1


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (Fill, "FILL"),
        (WindowStart, "WINDOW_START"),
        (WindowEnd, "WINDOW_END"),
        (HandlerFailed, "HANDLER_FAILED"),
        (Dropped, "DROPPED"),
    ],
)
def test_an_event_is_named_by_its_tag_also_where_it_is_written(cls: type[Event], name: str):
    assert event_name(cls) == name
    written = msgspec.json.encode(
        cls(*[7, *("x" if t == "str" else 8 for t in list(cls.__annotations__.values()))])
    )
    assert msgspec.json.decode(written)["event"] == name


def test_an_envelope_goes_through_msgpack_with_its_event():
    envelope = Envelope(3, 1, "me", Fill(1, 2.0))
    back = msgspec.msgpack.decode(msgspec.msgpack.encode(envelope), type=Envelope)
    assert (back.seq, back.cause, back.source) == (3, 1, "me")
    assert msgspec.convert(back.event, Fill) == Fill(1, 2.0)


def test_a_registry_knows_the_engines_events_and_those_registered():
    registry = EventRegistry()
    assert registry.register(Fill) is Fill
    assert registry.register(Fill) is Fill
    assert registry.resolve("FILL") is Fill
    assert [*registry] == [*ENGINE_EVENTS, Fill]
    assert registry.names() == tuple(event_name(cls) for cls in registry)
    assert ("FILL" in registry, "fill" in registry, Fill in registry) == (True, False, False)


def test_a_registry_starts_with_the_classes_it_is_given():
    assert EventRegistry([Fill]).names() == ("FILL",)


def test_one_name_belongs_to_one_class():
    class Other(Event, frozen=True, gc=False, tag="FILL"):
        pass

    registry = EventRegistry([Fill])
    with pytest.raises(RegistryError, match=r"'FILL' is taken by .*\.Fill; give .*Other another"):
        registry.register(Other)
    assert registry.resolve("FILL") is Fill


def test_a_name_must_be_upper_case():
    class Odd(Event, frozen=True, gc=False, tag="Fill"):
        pass

    with pytest.raises(RegistryError, match=r"'Fill' of .*Odd must be upper case"):
        EventRegistry().register(Odd)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("FIL", r" \(did you mean 'FILL'\?\)"), ("fill", r" \(did you mean 'FILL'\?\)"), ("XYZ", "")],
)
def test_an_unknown_name_is_an_error_that_names_near_matches(name: str, hint: str):
    with pytest.raises(RegistryError, match=f"^unknown event {name!r}{hint}$"):
        EventRegistry([*ENGINE_EVENTS, Fill]).resolve(name)
