"""The confidence of a count, and the stamp of the compile cache."""

import numpy as np
import pytest
from scipy import stats

from autotts_gym.engine.votes import confidence_table


@pytest.mark.parametrize("size", [1, 2, 64, 300])
def test_the_confidence_table_is_one_minus_the_beta_distribution_at_one_half(size: int):
    table = confidence_table(size)
    first, second = np.meshgrid(np.arange(size + 1), np.arange(size + 1), indexing="ij")
    expected = 1 - stats.beta.cdf(0.5, first + 1, second + 1)
    expected[0, 0] = 0.0
    assert table.shape == (size + 1, size + 1)
    np.testing.assert_allclose(table, expected, atol=1e-12)
    assert 0.0 <= table.min() <= table.max() <= 1.0


def test_the_confidence_table_is_exact_for_a_unanimous_count():
    # 1 - I(1/2; v + 1, 1) = 1 - 2^-(v + 1), to the last bit: thresholds compare with it.
    assert confidence_table(40)[1:, 0].tolist() == [1 - 0.5 ** (v + 1) for v in range(1, 41)]


def test_the_confidence_table_is_shared_and_read_only():
    table = confidence_table(8)
    assert confidence_table(8) is table
    with pytest.raises(ValueError, match="read-only"):
        table[0, 0] = 1.0


def test_confidence_grows_with_the_leader_and_falls_with_the_runner_up():
    table = confidence_table(64)[1:]
    assert (np.diff(table, axis=0) >= 0).all()
    assert (np.diff(table, axis=1) <= 0).all()
