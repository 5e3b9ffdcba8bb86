"""One's place in the queue, told from the tenants' turns."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from control.domain.queueing import Line, estimated_wait_s, position


def served(lines: list[Line]) -> list[tuple[str, int]]:
    """The order in which the store serves: (tenant, rank), least turn first, then by name."""
    turns = {line.tenant: (line.turn, 0) for line in lines}
    weights = {line.tenant: line.weight for line in lines}
    left = {line.tenant: line.length for line in lines}
    order = []
    while any(left.values()):
        tenant = min((t for t in left if left[t]), key=lambda t: (turns[t][0], t))
        turn, rank = turns[tenant]
        order.append((tenant, rank))
        turns[tenant] = (turn + 1 / weights[tenant], rank + 1)
        left[tenant] -= 1
    return order


@given(
    st.lists(
        st.builds(
            Line,
            st.sampled_from("abcdef"),
            st.integers(0, 8).map(lambda n: n / 4),
            st.sampled_from([0.5, 1.0, 2.0, 4.0]),
            st.integers(1, 6),
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda line: line.tenant,
    )
)
def test_the_place_told_is_the_place_served(lines: list[Line]) -> None:
    for place, (tenant, rank) in enumerate(served(lines), start=1):
        assert position(tenant, rank, lines) == place


def test_the_wait_is_unknown_until_a_slot_was_handed_over() -> None:
    assert estimated_wait_s(3, None) is None
    assert estimated_wait_s(3, 2_000.0) == 6.0
