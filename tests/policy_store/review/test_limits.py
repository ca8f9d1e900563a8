"""How often somebody may try: delays that grow and end, rates, and memory that does not grow."""

import pytest
from visiting import Seconds, fields_of, visiting

from policy_store import passwords
from policy_store.review import limits
from policy_store.review.limits import Limits, TooMany, block_of


@pytest.fixture
def clock():
    return Seconds()


@pytest.fixture
def tries(clock):
    return Limits(clock=clock)


def waits(tries, name="ada", address="10.0.0.1"):
    """Seconds to wait, 0 when the try was let through."""
    try:
        tries.trying(name, address)
    except TooMany as error:
        return int(error.headers["Retry-After"])
    return 0


def test_the_delay_for_a_name_grows_up_to_its_end(tries, clock):
    seen = []
    for number in range(25):
        address = f"10.0.{number}.1"
        while wait := waits(tries, address=address):
            seen.append(wait)
            clock.now += wait
    assert seen[:4] == [1, 2, 4, 8]
    assert max(seen) == limits.NAME_CAP_S
    assert waits(tries, "ben", "10.9.9.9") == 0


def test_an_address_that_tries_many_names_is_put_off_for_all(tries, clock):
    for number in range(limits.ADDRESS_FREE):
        assert waits(tries, f"name-{number}") == 0
    assert waits(tries, "another") > 0
    assert waits(tries, "another", "10.0.0.2") == 0


def test_tries_that_are_put_off_do_not_put_off_further(tries, clock):
    while not waits(tries):
        pass
    for _ in range(100):
        assert waits(tries) == 1
    clock.now += 1
    assert waits(tries) == 0


def test_a_success_forgets_the_name_and_an_hour_everything(tries, clock):
    for _ in range(9):
        waits(tries)
    tries.succeeded("ada", "10.0.0.1")
    assert [waits(tries) for _ in range(10)] == [0] * 10
    assert waits(tries) > 0
    clock.now += limits.FORGOTTEN_AFTER_S + 61
    assert [waits(tries) for _ in range(10)] == [0] * 10


def test_one_network_of_ipv6_is_one_address():
    assert block_of("2001:db8::1") == block_of("2001:db8::ffff") != block_of("2001:db8:1::1")
    assert block_of("::ffff:10.0.0.1") == block_of("10.0.0.1")
    assert block_of("testclient") == "testclient"


def test_memory_is_bounded_and_keeps_who_came_last(tries, monkeypatch):
    monkeypatch.setattr(limits, "MAX_KEYS", 100)
    for number in range(1000):
        tries.trying(f"name-{number}", f"10.{number // 250}.{number % 250}.1")
        tries.posted(f"who-{number}", 10)
    assert len(tries._tries) == len(tries._rates) == 100
    assert "name name-999" in tries._tries


def test_forms_come_at_a_rate(tries, clock):
    for _ in range(60):
        tries.posted("ada", 60)
    with pytest.raises(TooMany):
        tries.posted("ada", 60)
    tries.posted("ben", 60)
    clock.now += 1.0
    tries.posted("ada", 60)
    with pytest.raises(TooMany):
        tries.posted("ada", 60)


def test_a_visitor_who_posts_too_often_is_told_when_to_go_on(store, monkeypatch):
    monkeypatch.setattr(passwords, "NOW", passwords.Work(n=1 << 10))
    here = visiting(store, posts_per_minute=3)
    browser = here.signed_in("ada")
    form = fields_of(browser, "/account", "/account/sessions/end-all")
    answers = [browser.post("/account/sessions/end-all", data=form) for _ in range(4)]
    assert [one.status_code for one in answers] == [303, 303, 303, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert browser.get("/account").status_code == 200
