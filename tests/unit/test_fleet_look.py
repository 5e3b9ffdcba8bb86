"""Groups and workers joined into nodes, and what the pools offer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from control.domain.geography import REGIONS
from control.services import offers, planner
from control.services.fleet import look
from control.services.peer_ports import OwnSummary, Peer
from control.services.scaling_ports import PriceList
from tests.fleet_desk import OD, SPOT, FleetDesk, always


@pytest.fixture
def desk(valkey_url: str) -> FleetDesk:
    return FleetDesk(valkey_url)


def test_a_node_boots_until_its_worker_announces_slots(desk: FleetDesk) -> None:
    desk.pools.make(OD, desired=1)
    ((node,),) = (group.instances for group in desk.pools.pools())

    assert desk.node(node.node_id).state == "booting"
    desk.register(node.node_id, state="warming")
    assert desk.node(node.node_id).state == "booting"
    desk.beat(node.node_id)

    ready = desk.node(node.node_id)
    assert (ready.state, ready.slots, ready.used, ready.healthy) == ("ready", 12, 0, True)
    assert ready.pool.name == OD
    assert ready.since_s == node.launched_s


def test_what_a_group_waits_for_is_a_node_that_boots(desk: FleetDesk) -> None:
    desk.boot(OD)
    desk.pools.set(OD, 3)

    waiting = [one for one in desk.fleet().nodes if one.state == "booting"]

    assert [one.node_id for one in waiting] == [f"{OD}+1", f"{OD}+2"]
    assert {one.slots for one in waiting} == {12}


def test_leases_count_as_used_and_demand_is_told(desk: FleetDesk) -> None:
    (node,) = desk.boot(OD, slots=2)
    for _ in range(3):
        desk.lesson()

    fleet = desk.fleet()

    assert desk.node(node).used == 2
    assert (fleet.live, fleet.queued) == (2, 1)


def test_a_closed_node_is_closed_and_a_reopened_one_ready(desk: FleetDesk) -> None:
    (node,) = desk.boot(OD)

    desk.store.order({node: None})
    assert desk.node(node).state == "closed"
    desk.store.order({node: 0.0})
    assert desk.node(node).state == "ready"


def test_a_drained_node_and_one_that_its_group_ends_are_leaving(desk: FleetDesk) -> None:
    drained, ended = desk.boot(OD, 2)

    desk.store.drain(drained)
    desk.pools.change(ended, state="Terminating:Wait")

    assert [desk.node(one).state for one in (drained, ended)] == ["leaving", "leaving"]


def test_a_node_that_does_not_register_in_time_is_unhealthy(desk: FleetDesk) -> None:
    desk.pools.make(OD, desired=1)
    node = desk.fleet().nodes[0].node_id

    desk.pass_s(595)
    assert desk.node(node).healthy
    desk.pass_s(10)
    assert not desk.node(node).healthy


def test_a_worker_that_falls_silent_is_given_two_minutes_to_come_back(desk: FleetDesk) -> None:
    silent, _ = desk.boot(OD, 2)
    desk.pass_s(3600)

    desk.pass_s(30, silent=(silent,))
    assert (desk.node(silent).state, desk.node(silent).healthy) == ("booting", True)
    desk.pass_s(125, silent=(silent,))
    assert not desk.node(silent).healthy
    desk.beat(silent)
    assert (desk.node(silent).state, desk.node(silent).healthy) == ("ready", True)


def test_a_sick_worker_announces_no_slots_and_is_unhealthy_in_the_end(desk: FleetDesk) -> None:
    (node,) = desk.boot(OD)
    desk.slots[node] = 0
    desk.pass_s(60)
    assert (desk.node(node).state, desk.node(node).healthy) == ("booting", True)

    desk.pass_s(605)

    assert not desk.node(node).healthy


def test_what_the_group_finds_unhealthy_is_unhealthy(desk: FleetDesk) -> None:
    (node,) = desk.boot(OD)

    desk.pools.change(node, healthy=False)

    assert not desk.node(node).healthy


def test_measured_slots_go_over_the_published_ones_and_are_remembered(desk: FleetDesk) -> None:
    for slots in (9, 10, 11):
        desk.boot(OD, slots=slots)
    desk.pools.make(SPOT)

    offered = {one.pool.name: one.slots for one in desk.fleet().offers}
    assert offered == {OD: 10, SPOT: 10}
    for node in list(desk.registrations):
        desk.pools.gone(node)
        desk.pools.set(OD, 0)

    assert {one.slots for one in desk.fleet().offers} == {10}


def test_a_spot_node_costs_what_its_zone_costs(desk: FleetDesk) -> None:
    desk.prices.told = PriceList(
        {"g5.xlarge": 1.1}, {"g5.xlarge": {"us-east-1a": 0.6, "us-east-1b": 0.5}}
    )
    offers.refresh(desk.cell, desk.now_s)
    (spot,) = desk.boot(SPOT)
    (demand,) = desk.boot(OD)

    offered = {one.pool.name: one.price_usd_h for one in desk.fleet().offers}

    assert offered == {SPOT: 0.5, OD: 1.1}
    assert desk.node(spot).price_usd_h == 0.6
    assert desk.node(demand).price_usd_h == 1.1


def test_prices_are_asked_for_once_an_hour(desk: FleetDesk) -> None:
    desk.prices.told = PriceList({"g5.xlarge": 1.0}, {})

    for _ in range(5):
        assert offers.refresh(desk.cell, desk.now_s) == ()
        desk.pass_s(60)
    assert desk.prices.asked == 1
    desk.pass_s(3600)
    offers.refresh(desk.cell, desk.now_s)
    assert desk.prices.asked == 2


def test_what_peers_are_short_of_is_shared_and_comes_on_top(desk: FleetDesk) -> None:
    desk.boot(OD)
    peers = tuple(Peer(name, "eu-west-1", REGIONS["eu-west-1"], "http://x") for name in "bc")
    cell = replace(desk.cell, peers=peers)
    told = OwnSummary(0, 0.0, True, 0, 1, False, (), short_slots=25)

    desk.store.hear("b", told, 0)
    assert look(cell).fleet.spilled == 13
    desk.pass_s(121)

    assert look(cell).fleet.spilled == 0, "it was not heard since"


def test_a_region_that_is_short_tells_its_peers_and_not_what_they_spilled(desk: FleetDesk) -> None:
    desk.boot(OD)
    planner.tick(desk.cell, always(why={"said": [], "short_slots": 7.5}))
    assert desk.store.summary("b", 1).short_slots == 8

    desk.store.hear("b", OwnSummary(0, 0.0, True, 0, 1, False, (), short_slots=5), 0)
    planner.tick(desk.cell, always(why={"said": [], "short_slots": 7.5}))

    assert desk.store.summary("b", 1).short_slots == 3
