"""What a strategy is, and what it is given to work with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Protocol, TypeAlias, runtime_checkable

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from admf.containers.events import Bar, TimeInForce
from admf.containers.features import FeatureSpec
from admf.containers.market_data import Bars

__all__ = [
    "BarStrategy",
    "ColumnarStrategy",
    "Context",
    "FeatureView",
    "LongPeriod",
    "Period",
    "Strategy",
    "Targets",
    "declared_features",
    "targets_by_piece",
]

Period: TypeAlias = Annotated[int, Meta(ge=1, le=100_000)]
LongPeriod: TypeAlias = Annotated[int, Meta(ge=2, le=100_000)]


class FeatureView(Protocol):
    """The indicators of one symbol over one window."""

    def __call__(
        self, function: str, *params: float, on: str | None = None, output: str | None = None
    ) -> NDArray[np.float64]:
        """Return an indicator, one value per bar, NaN while it warms up.

        Args:
            function: TA-Lib's name in lower case, e.g. ``sma``.
            *params: Its parameters in TA-Lib's order; those left out keep TA-Lib's defaults.
            on: Column to read instead of the close, e.g. ``high``.
            output: Which output, if there are several, e.g. ``macdsignal``.

        Returns:
            float64 (n,), read-only; row i was known at the close of bar i.

        Raises:
            ConfigError: There is no such indicator, or it does not take these arguments.
        """
        ...


class Context(Protocol):
    """What ``on_bar`` sees of its lane, and how it acts; the bar it is called for is closed.

    Orders work from the next bar on. ``symbol`` defaults to the bar's.
    """

    @property
    def position(self) -> float:
        """Units of the bar's symbol, negative when short."""
        ...

    @property
    def equity(self) -> float:
        """Cash and positions at the last closes, quote currency."""
        ...

    @property
    def cash(self) -> float:
        """Quote currency."""
        ...

    @property
    def bar_index(self) -> int:
        """Index of this bar among its symbol's bars in the window, from 0."""
        ...

    @property
    def rng(self) -> np.random.Generator:
        """The lane's own generator, seeded from the experiment."""
        ...

    def feature(
        self, function: str, *params: float, on: str | None = None, output: str | None = None
    ) -> float:
        """Return an indicator at this bar, NaN while it warms up; arguments as in `FeatureView`."""
        ...

    def buy(
        self,
        quantity: float | None = None,
        *,
        limit: float | None = None,
        stop: float | None = None,
        stop_loss: float | None = None,
        take_profit: float | None = None,
        time_in_force: TimeInForce = "gtc",
        symbol: str | None = None,
    ) -> None:
        """Ask for a purchase.

        Args:
            quantity: Units; None lets the sizing decide when the order fills.
            limit: Pay this price at most.
            stop: Become active when the price rises to it.
            stop_loss: Price of a protective stop that goes with the position; of an order that
                enlarges a position, it takes the place of the stop loss there is.
            take_profit: Price of a target that goes with the position, likewise.
            time_in_force: ``gtc`` works until filled or cancelled, ``day`` for the next bar's day.
            symbol: Another symbol than the bar's.
        """
        ...

    def sell(
        self,
        quantity: float | None = None,
        *,
        limit: float | None = None,
        stop: float | None = None,
        stop_loss: float | None = None,
        take_profit: float | None = None,
        time_in_force: TimeInForce = "gtc",
        symbol: str | None = None,
    ) -> None:
        """Ask for a sale; arguments mirror those of `buy`."""
        ...

    def close(self, *, symbol: str | None = None) -> None:
        """Flatten the position."""
        ...

    def target(self, exposure: float, *, symbol: str | None = None) -> None:
        """Ask for an exposure, as a multiple of the sizing's full position, negative for short."""
        ...

    def cancel(self, *, symbol: str | None = None) -> None:
        """Withdraw the symbol's working orders, but for those that protect a position.

        Orders asked for in the same call of ``on_bar`` are not among them.
        """
        ...


@runtime_checkable
class ColumnarStrategy(Protocol):
    """A strategy that works on a symbol's whole window at once."""

    def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
        """Return the exposure wanted at each close, float64 (n,); see `Strategy`."""
        ...


@runtime_checkable
class BarStrategy(Protocol):
    """A strategy that is called at each close."""

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        """Act on a closed bar through ``ctx``; see `Strategy`."""
        ...


Targets: TypeAlias = Callable[[Bars, FeatureView], NDArray[np.float64]]
"""Returns the exposure wanted at each close, as ``targets`` of a `ColumnarStrategy` does."""


class Strategy(msgspec.Struct, dict=True, forbid_unknown_fields=True):
    """Base of strategies: typed parameters as fields, and exactly one of two methods.

    * ``targets(self, bars: Bars, features: FeatureView) -> NDArray[float64]`` is called once per
      symbol for the whole window and returns the exposure wanted at each close: 1 is the sizing's
      full position, negative is short, NaN keeps the last one, and before any it is flat. Row i may
      use what was known at the close of bar i and nothing later.
    * ``on_bar(self, bar: Bar, ctx: Context) -> None`` is called at each close and acts through
      ``ctx``. One instance serves all symbols of its lane; it may keep state on ``self``.

    Fields are checked against their annotations (``fast: Annotated[int, Meta(ge=1)] = 10``);
    ``__post_init__`` may raise ValueError for what concerns several of them.

    Example::

        class Dip(Strategy):
            period: int = 14

            def on_bar(self, bar: Bar, ctx: Context) -> None:
                if ctx.feature("rsi", self.period) < 30 and not ctx.position:
                    ctx.buy(stop_loss=bar.close * 0.95)
    """

    def piecewise(self) -> Targets | None:
        """Return ``targets`` for one piece of the window after the other; None if it has no such.

        It makes up for what ``targets`` knows of the whole: what is returned is called with
        consecutive pieces of a symbol's window, in their order, and keeps what it has to remember
        from one to the next. Joined, the exposures must be those of ``targets``. Long windows then
        need no more memory than short ones.
        """
        return None

    def features(self) -> Sequence[FeatureSpec]:
        """Return the features to publish as FEATURES events; others can be used all the same."""
        return ()


def declared_features(strategy: object) -> tuple[FeatureSpec, ...]:
    """Return the features that a strategy, of whichever base, wants published."""
    declare: Callable[[], Iterable[FeatureSpec]] | None = getattr(strategy, "features", None)
    return tuple(declare()) if callable(declare) else ()


@runtime_checkable
class _Piecewise(Protocol):
    def piecewise(self) -> Targets | None: ...


def targets_by_piece(strategy: ColumnarStrategy) -> Targets | None:
    """Return what takes one piece of a symbol's window after the other; None if nothing does.

    A class whose ``targets`` is its own has to say anew how it goes by pieces: what it inherits
    belongs to the ``targets`` that it replaces.
    """
    names = ("piecewise", "targets")
    own = next((it for cls in type(strategy).__mro__ for it in names if it in vars(cls)), "")
    if own == "piecewise" and isinstance(strategy, _Piecewise):
        return strategy.piecewise()
    return None
