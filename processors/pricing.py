"""What a model call cost, from its tokens and the bundled price table of genai-prices. No network, no clock.

The price depends on when the call was made (prices change at known dates), so the event's own time goes in. Values are
exactly those of ``genai_prices.calc_price``; the common case (a flat price per token) is computed here, because the
library's general way costs thirty times as much.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

import genai_prices
from chaukas.spec.common.v1 import events_pb2 as pb
from genai_prices import data_snapshot, types

from processors.clip import NAME_CHARS
from processors.intake import NANOS, Incoming

#: The table's version: recorded beside every cost, so that a value can be explained after an upgrade.
PRICE_TABLE = f"genai-prices {genai_prices.__version__}"

#: The only type that has a cost.
PRICED_TYPE = int(pb.EVENT_TYPE_MODEL_INVOCATION_END)

#: Prices by input and output tokens at a time (Unix nanoseconds), US dollars: the float next to the exact price.
_Price = Callable[[int, int, int], float]


def cost_usd(event: Incoming) -> float | None:
    """US dollars of a MODEL_INVOCATION_END with tokens; None when the client gave a cost or the price is not known."""
    if event.type != PRICED_TYPE or not event.event.HasField("llm_invocation"):
        return None
    call = event.event.llm_invocation
    tokens_in, tokens_out = call.prompt_tokens, call.completion_tokens
    if tokens_in < 0 or tokens_out < 0 or not (tokens_in or tokens_out) or _has_cost(event.event.cost):
        return None
    if not call.model or len(call.model) > NAME_CHARS or len(call.provider) > NAME_CHARS:
        return None
    price = _price_of(call.provider, call.model)
    return price(tokens_in, tokens_out, event.time_ns) if price is not None else None


def _has_cost(cost: pb.CostDetails) -> bool:
    return bool(cost.total_cost or cost.input_cost or cost.output_cost)


@lru_cache(maxsize=4096)
def _price_of(provider_id: str, model_name: str) -> _Price | None:
    """How calls of this model are priced; None when the table does not know it. Bounded: the names are the clients'."""
    providers = _providers()
    if provider_id:
        provider = data_snapshot.find_provider_by_id(list(providers), provider_id)
    else:
        name = model_name.lower()
        provider = next((p for p in providers if p.model_match is not None and p.model_match.is_match(name)), None)
    model = provider.find_model(model_name, all_providers=list(providers)) if provider is not None else None
    if provider is None or model is None:
        return None
    flat = _flat_price(model)
    if flat is not None:
        return flat

    def general(tokens_in: int, tokens_out: int, time_ns: int) -> float:
        usage = genai_prices.Usage(input_tokens=tokens_in, output_tokens=tokens_out)
        return float(model.calc_price(usage, provider, genai_request_timestamp=_moment(time_ns)).total_price)

    return general


def _flat_price(model: types.ModelInfo) -> _Price | None:
    """A price that is the same at all times, without tiers and without fees per request; None for any other."""
    prices = model.prices
    if not isinstance(prices, types.ModelPrice):
        return None
    known = {name: price for name, price in vars(prices).items() if price is not None}
    if "requests_kcount" in known:
        return None
    per_input, per_output = known.get("input_mtok"), known.get("output_mtok")
    if not isinstance(per_input, Decimal) or not isinstance(per_output, Decimal):
        return None
    # As whole numbers of a common denominator: the division is exact but for its one rounding, as float() of the Decimal is.
    (a, b), (c, d) = per_input.as_integer_ratio(), per_output.as_integer_ratio()
    denominator = b * d * 1_000_000
    per_input_token, per_output_token = a * d, c * b
    return lambda tokens_in, tokens_out, _: (per_input_token * tokens_in + per_output_token * tokens_out) / denominator


@lru_cache(maxsize=1)
def _providers() -> tuple[types.Provider, ...]:
    return tuple(data_snapshot.get_snapshot().providers)


def _moment(time_ns: int) -> datetime:
    # Legal event times are years 1 to 9999, as datetime's.
    return datetime.fromtimestamp(time_ns // NANOS, UTC)
