"""The tables of what a client and its connection do: whole, and without dead ends."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from telex.socketio.client.states import LIFE, PHASES, Life, Phase, Step, Turn


@pytest.mark.parametrize(("table", "states", "moves"), [(LIFE, Life, Turn), (PHASES, Phase, Step)])
def test_a_table_uses_every_state_and_every_move(table: Any, states: type[Enum], moves: type[Enum]) -> None:
    assert {state for state, _ in table} == set(states) == set(table.values())
    assert {move for _, move in table} == set(moves)


def test_whatever_a_client_does_it_may_end_and_begin_again() -> None:
    for phase in set(Phase) - {Phase.IDLE}:
        assert PHASES[phase, Step.END] is Phase.IDLE
    for life in set(Life) - {Life.CLOSED}:
        assert LIFE[life, Turn.END] is Life.CLOSED
    assert PHASES[Phase.IDLE, Step.WANT] is Phase.AWAY
    assert LIFE[Life.CLOSED, Turn.BEGIN] is Life.OPENING
