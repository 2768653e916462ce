"""Whether and when a failed attempt is followed by another: the same answer for everybody who asks."""

import math
from datetime import timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from daybook.domain.events import Policy
from daybook.domain.retry import is_worth_retrying, pause_before_retry

EAGER: Final = Policy(max_attempts=3)
DAY: Final = timedelta(days=1)
CENTURY_SECONDS: Final = 36_525 * 86_400.0

seeds = st.text(max_size=40)
seconds = st.floats(0, CENTURY_SECONDS)
# As far as a policy can go that people may write down: factors beyond this have their own test.
policies = st.builds(Policy, backoff_seconds=seconds, backoff_factor=st.floats(1, 1000), backoff_max_seconds=seconds)
numbers = st.integers(1, 10) | st.integers(1, 10**12)


def pause(policy: Policy, number: int = 1, seed: str = "tsk_1", at_least: float | None = None) -> float:
    return pause_before_retry(policy, number, seed, at_least).total_seconds()


class TestWhether:
    def test_there_are_as_many_attempts_as_the_policy_wants(self) -> None:
        worth = [is_worth_retrying(EAGER, "ValueError", failures, retryable=True) for failures in (1, 2, 3, 4)]
        assert worth == [True, True, False, False]

    def test_one_attempt_is_the_first_and_the_last(self) -> None:
        assert not is_worth_retrying(Policy(), "ValueError", 1, retryable=True)

    def test_what_the_executor_knows_to_be_hopeless_is_not_tried_again(self) -> None:
        assert not is_worth_retrying(EAGER, "ValueError", 1, retryable=False)

    def test_what_may_run_at_most_once_is_not_tried_again(self) -> None:
        assert not is_worth_retrying(replace(EAGER, delivery="at_most_once"), "ValueError", 1, retryable=True)

    @pytest.mark.parametrize(
        ("error_type", "named", "worth"),
        [
            ("ValueError", "ValueError", False),
            ("books.pages.Torn", "Torn", False),
            ("books.pages.Torn", "books.pages.Torn", False),
            ("books.pages.Torn", "pages.Torn", True),
            ("books.pages.Torn", "books.pages", True),
            ("books.pages.Torn", "books", True),
            ("Torn", "books.pages.Torn", True),
            ("ValueError", "Value", True),
            ("ValueError", "valueerror", True),
            ("ValueError", "", True),
        ],
    )
    def test_an_error_is_hopeless_by_its_name_with_or_without_its_module(self, error_type: str, named: str, worth: bool) -> None:
        assert is_worth_retrying(replace(EAGER, non_retryable=(named,)), error_type, 1, retryable=True) is worth
        assert is_worth_retrying(replace(EAGER, non_retryable=("Other", named)), error_type, 1, retryable=True) is worth


class TestBackoff:
    @pytest.mark.parametrize(("number", "backoff"), [(1, 10.0), (2, 30.0), (3, 90.0), (4, 100.0), (5, 100.0), (10**9, 100.0)])
    def test_it_grows_by_its_factor_up_to_its_cap(self, number: int, backoff: float) -> None:
        policy = Policy(backoff_seconds=10.0, backoff_factor=3.0, backoff_max_seconds=100.0)
        assert 0.75 * backoff <= pause(policy, number) <= backoff

    def test_with_factor_one_it_stays_the_same_and_below_one_it_shrinks(self) -> None:
        assert 0.75 * 10 <= pause(Policy(backoff_seconds=10.0, backoff_factor=1.0), 50) <= 10
        assert 0.75 * 10 / 16 <= pause(Policy(backoff_seconds=10.0, backoff_factor=0.5), 5) <= 10 / 16

    def test_with_no_seconds_there_is_no_pause(self) -> None:
        assert pause(Policy(backoff_seconds=0.0), 7) == 0.0
        assert pause(Policy(backoff_max_seconds=0.0), 7) == 0.0

    def test_unless_said_otherwise_it_begins_with_a_second_doubles_and_stops_at_five_minutes(self) -> None:
        for number, backoff in [(1, 1.0), (2, 2.0), (9, 256.0), (10, 300.0), (100, 300.0)]:
            assert 0.75 * backoff <= pause(Policy(), number) <= backoff

    @given(policies, numbers, seeds)
    def test_it_is_never_longer_than_the_cap_nor_a_quarter_shorter_than_the_rule(self, policy: Policy, number: int, seed: str) -> None:
        grown = policy.backoff_seconds * policy.backoff_factor ** min(number - 1, 30)
        found = pause(policy, number, seed)
        assert 0 <= found <= policy.backoff_max_seconds + 1e-6
        assert found >= 0.75 * min(grown, policy.backoff_max_seconds) - 1e-6

    @pytest.mark.parametrize(("factor", "number"), [(1e5, 63), (1e5, 10**9), (1e100, 5), (1.7e308, 3)])
    def test_no_factor_is_too_large(self, factor: float, number: int) -> None:
        assert 225 <= pause(Policy(backoff_factor=factor), number) <= 300

    def test_a_small_factor_has_its_effect_however_late(self) -> None:
        assert 0.75 * 76.8 <= pause(Policy(backoff_factor=1.05), 90) <= 76.9


class TestJitter:
    def test_it_is_the_same_for_everybody_today_and_tomorrow(self) -> None:
        policy = Policy(backoff_seconds=1000.0, backoff_max_seconds=8000.0)
        found = {(seed, number): round(pause(policy, number, seed), 3) for seed in ("", "tsk_1") for number in (1, 2)}
        assert found == {("", 1): 938.319, ("", 2): 1797.896, ("tsk_1", 1): 756.399, ("tsk_1", 2): 1670.138}

    @given(policies, numbers, seeds)
    def test_asking_twice_changes_nothing(self, policy: Policy, number: int, seed: str) -> None:
        assert pause_before_retry(policy, number, seed) == pause_before_retry(policy, number, seed)

    def test_it_spreads_tasks_that_failed_together_over_the_last_quarter(self) -> None:
        policy = Policy(backoff_seconds=100.0)
        found = sorted(pause(policy, 1, f"tsk_{number}") for number in range(1000))
        assert len(set(found)) == 1000
        assert 75 <= found[0] < 75.5
        assert 99.5 < found[-1] <= 100
        assert 86.5 < sum(found) / 1000 < 88.5

    def test_two_tasks_that_met_once_do_not_meet_again(self) -> None:
        policy = Policy(backoff_seconds=100.0, backoff_factor=1.0)
        shares = {number: pause(policy, number, "tsk_1") for number in range(1, 9)}
        assert len(set(shares.values())) == 8


class TestRetryAfter:
    def test_the_other_sides_wish_counts_where_it_is_longer(self) -> None:
        policy = Policy(backoff_seconds=10.0)
        assert pause(policy, at_least=60.0) == 60.0
        assert pause(policy, at_least=10.5) == 10.5
        assert pause(policy, at_least=3.0) == pause(policy)

    def test_it_may_be_longer_than_the_cap_of_the_backoff(self) -> None:
        assert pause(Policy(backoff_max_seconds=5.0), at_least=60.0) == 60.0

    @pytest.mark.parametrize("wish", [86_400.0, 86_401.0, 1e300, math.inf, 10**400])
    def test_a_day_is_the_longest_that_anybody_is_granted(self, wish: float) -> None:
        assert pause_before_retry(Policy(), 1, "tsk_1", wish) == DAY

    @pytest.mark.parametrize("wish", [None, 0.0, -5.0, -math.inf, math.nan])
    def test_a_wish_that_is_none_changes_nothing(self, wish: float | None) -> None:
        assert pause(Policy(backoff_seconds=10.0), at_least=wish) == pause(Policy(backoff_seconds=10.0))

    def test_a_backoff_of_more_than_a_day_is_not_shortened_by_a_wish(self) -> None:
        policy = Policy(backoff_seconds=10 * 86_400.0, backoff_max_seconds=10 * 86_400.0)
        assert pause(policy, at_least=1e9) == pause(policy) > 7 * 86_400

    @given(policies, numbers, seeds, st.floats(allow_nan=False))
    def test_the_pause_is_the_longer_of_the_two(self, policy: Policy, number: int, seed: str, wish: float) -> None:
        wished = timedelta(seconds=min(max(wish, 0.0), 86_400.0))
        assert pause_before_retry(policy, number, seed, wish) == max(pause_before_retry(policy, number, seed), wished)
