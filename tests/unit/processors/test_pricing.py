"""Costs are exactly those of genai-prices, at the event's own time, and absent whenever anything is missing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import genai_prices
import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from genai_prices import data_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.intake import read
from processors.pricing import PRICE_TABLE, _price_of, cost_usd
from tests.support.events import START_NS, event
from tests.support.raw_records import raw_record

MODELS = [(p.id, m.id) for p in data_snapshot.get_snapshot().providers for m in p.models]


def model_end(
    provider: str = "openai", model: str = "gpt-4o", tokens: tuple[int, int] = (100, 50), **fields: Any
) -> Any:
    call = pb.LLMInvocation(provider=provider, model=model, prompt_tokens=tokens[0], completion_tokens=tokens[1])
    return event(pb.EVENT_TYPE_MODEL_INVOCATION_END, llm_invocation=call, **fields)


def cost(sent: Any) -> float | None:
    return cost_usd(read(raw_record(sent)))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(MODELS), st.integers(0, 2_000_000), st.integers(0, 200_000), st.integers(0, 4_000_000_000))
def test_equal_to_the_library(known: tuple[str, str], tokens_in: int, tokens_out: int, seconds: int) -> None:
    provider, model = known
    if not tokens_in and not tokens_out:
        return
    try:
        wanted = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=tokens_in, output_tokens=tokens_out),
            model,
            provider_id=provider,
            genai_request_timestamp=datetime.fromtimestamp(seconds, UTC),
        ).total_price
    except (LookupError, ValueError):
        wanted = None
    found = cost(model_end(provider, model, (tokens_in, tokens_out), at_ns=seconds * 10**9))
    assert found == (None if wanted is None else float(wanted))


def test_every_model_of_the_table_has_a_price_or_none_but_never_an_error() -> None:
    for provider, model in MODELS:
        cost(model_end(provider, model))


def test_without_a_provider_the_model_tells() -> None:
    assert cost(model_end(provider="")) == cost(model_end())


@pytest.mark.parametrize(
    "sent",
    [
        model_end(model="nobody-knows-this"),
        model_end(provider="nobody-knows-this"),
        model_end(model=""),
        model_end(model="x" * 2000),
        model_end(tokens=(0, 0)),
        model_end(tokens=(-5, 10)),
        model_end(cost=pb.CostDetails(total_cost=0.5)),
        model_end(cost=pb.CostDetails(input_cost=0.5)),
        event(pb.EVENT_TYPE_MODEL_INVOCATION_END, error=pb.ErrorInfo()),
        event(
            pb.EVENT_TYPE_MODEL_INVOCATION_START,
            llm_invocation=pb.LLMInvocation(provider="openai", model="gpt-4o", prompt_tokens=100),
        ),
    ],
    ids=str,
)
def test_no_cost(sent: Any) -> None:
    assert cost(sent) is None


def test_a_cost_without_an_amount_is_none_given() -> None:
    assert cost(model_end(cost=pb.CostDetails(currency="USD", input_tokens=100))) == cost(model_end())


@pytest.mark.parametrize("seconds", [-62_135_596_800, 253_402_300_799])
def test_any_legal_time_has_a_price(seconds: int) -> None:
    sent = model_end(at_ns=None)
    sent.timestamp.seconds = seconds
    assert cost(sent) is not None


def test_hostile_names_do_not_fill_the_memory() -> None:
    for number in range(6000):
        cost(model_end(model=f"gpt-4o-{number}"))
    assert _price_of.cache_info().currsize <= 4096


def test_the_table_is_named() -> None:
    assert f"genai-prices {genai_prices.__version__}" == PRICE_TABLE
    assert START_NS  # the events' own time decides, see above
