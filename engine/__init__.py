"""An event-bus engine with pluggable containers; it knows nothing about markets.

`Bus` delivers typed events to `Container` objects, each with an `EventTracer` and a
`RetentionPolicy` of its own; `LifecycleManager` gives them their life, one execution window at a
time, and sees to it that their results are written however the window ends.
"""

from __future__ import annotations

from admf.engine.activity import Activity
from admf.engine.block import Block, DictionaryColumn
from admf.engine.bus import Bus
from admf.engine.bus_counts import BusCounts, Deliveries
from admf.engine.clock import Clock, SimulatedClock, WallClock
from admf.engine.container import Container, ContainerState, Health, Status
from admf.engine.errors import (
    AdmfError,
    BusClosedError,
    BusError,
    ConfigError,
    DataError,
    DeadlineError,
    HandlerError,
    Problem,
    QueueFullError,
    RegistryError,
    ResultExistsError,
    SourceError,
    StateError,
    StorageError,
    TornFileError,
    UnsafeIdError,
    UserCodeError,
    WindowError,
    WrongThreadError,
)
from admf.engine.events import (
    ContainerAdded,
    ContainerRemoved,
    ContainerSwapped,
    Dropped,
    Envelope,
    Event,
    EventRegistry,
    HandlerFailed,
    SourceConnected,
    SourceEvent,
    SourceFailed,
    SourceGap,
    SourceHeld,
    SourceLost,
    SourceRejected,
    WindowEnd,
    WindowStart,
)
from admf.engine.intake import Intake, IntakeRecord
from admf.engine.lifecycle import LifecycleManager
from admf.engine.loop_watch import LoopWatch
from admf.engine.observing import (
    ContainerFlush,
    HandlerFailure,
    LoopReport,
    Observer,
    SlowHandler,
    current_activity,
)
from admf.engine.registry import Registry
from admf.engine.results import Document, ResultStore, WindowResults
from admf.engine.retention import (
    BUILT_IN_POLICIES,
    Minimal,
    RetentionPolicy,
    SlidingWindow,
    TracingConfig,
    TradeComplete,
    make_policy,
)
from admf.engine.roll_rules import DailyAt, EveryDuration, EveryEvents
from admf.engine.rolling import RollingSession
from admf.engine.sources import AcknowledgedSource, Source
from admf.engine.storage import LocalStorage, MemoryStorage, Storage
from admf.engine.stream import EventStream
from admf.engine.subscription import Mailbox, Subscription, SubscriptionStats
from admf.engine.summary import ContainerSummary, SessionCounts, WindowSummary
from admf.engine.supervision import Supervision
from admf.engine.teardown import Deadlines
from admf.engine.topology import Resources, Topology, TopologyBuilder
from admf.engine.tracer import EventTracer, Sink, TracerSummary, resolve_types
from admf.engine.verification import verify_window
from admf.engine.window import ExecutionWindow
from admf.engine.window_spec import WindowSpec

__all__ = [
    "BUILT_IN_POLICIES",
    "AcknowledgedSource",
    "Activity",
    "AdmfError",
    "Block",
    "Bus",
    "BusClosedError",
    "BusCounts",
    "BusError",
    "Clock",
    "ConfigError",
    "Container",
    "ContainerAdded",
    "ContainerFlush",
    "ContainerRemoved",
    "ContainerState",
    "ContainerSummary",
    "ContainerSwapped",
    "DailyAt",
    "DataError",
    "DeadlineError",
    "Deadlines",
    "Deliveries",
    "DictionaryColumn",
    "Document",
    "Dropped",
    "Envelope",
    "Event",
    "EventRegistry",
    "EventStream",
    "EventTracer",
    "EveryDuration",
    "EveryEvents",
    "ExecutionWindow",
    "HandlerError",
    "HandlerFailed",
    "HandlerFailure",
    "Health",
    "Intake",
    "IntakeRecord",
    "LifecycleManager",
    "LocalStorage",
    "LoopReport",
    "LoopWatch",
    "Mailbox",
    "MemoryStorage",
    "Minimal",
    "Observer",
    "Problem",
    "QueueFullError",
    "Registry",
    "RegistryError",
    "Resources",
    "ResultExistsError",
    "ResultStore",
    "RetentionPolicy",
    "RollingSession",
    "SessionCounts",
    "SimulatedClock",
    "Sink",
    "SlidingWindow",
    "SlowHandler",
    "Source",
    "SourceConnected",
    "SourceError",
    "SourceEvent",
    "SourceFailed",
    "SourceGap",
    "SourceHeld",
    "SourceLost",
    "SourceRejected",
    "StateError",
    "Status",
    "Storage",
    "StorageError",
    "Subscription",
    "SubscriptionStats",
    "Supervision",
    "Topology",
    "TopologyBuilder",
    "TornFileError",
    "TracerSummary",
    "TracingConfig",
    "TradeComplete",
    "UnsafeIdError",
    "UserCodeError",
    "WallClock",
    "WindowEnd",
    "WindowError",
    "WindowResults",
    "WindowSpec",
    "WindowStart",
    "WindowSummary",
    "WrongThreadError",
    "current_activity",
    "make_policy",
    "resolve_types",
    "verify_window",
]
