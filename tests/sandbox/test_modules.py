"""What programs may import works where no file can be opened and there is no entropy."""

import subprocess
import sys
from pathlib import Path

import pytest
from writing import write

from autotts_gym import evaluate, make_controller, synthesize
from autotts_gym.errors import ProgramError
from autotts_gym.sandbox import Sandbox, check_program

STORE = synthesize(2, 70, seed=1)

NUMPY = {
    "imports": """
        import numpy, numpy.random, numpy.linalg as la, numpy.random as nr
        from numpy import random as r
        from numpy.random import default_rng, rand
        assert nr is r is numpy.random and la is numpy.linalg
        values = [rand(), default_rng().random(), la.inv(numpy.eye(2)).sum()]
    """,
    "random": """
        rng = np.random.default_rng(3)
        values = [rng.random(), rng.normal(size=3).sum(), rng.choice(5), rng.permutation(4).sum(), rng.beta(1, 2)]
        values += [np.random.Generator(np.random.PCG64(4)).dirichlet([1, 2, 3]).sum(), np.random.RandomState(4).rand()]
        values += [np.random.default_rng().integers(9), np.random.RandomState().rand(), np.random.PCG64().random_raw()]
        np.random.seed(5)
        values += [np.random.random(), np.random.randint(9), np.random.ranf(), np.random.shuffle([1, 2]) or 1]
    """,
    "ma": """
        masked = np.ma.masked_less(np.arange(5.0), 2)
        values = [masked.mean(), np.ma.median(masked), np.ma.array([1, 2], mask=[0, 1]).sum(), len(repr(masked))]
    """,
    "others": """
        a = np.random.default_rng(1).normal(size=(4, 4))
        values = [np.linalg.svd(a)[1].sum(), np.linalg.eigh(a @ a.T)[0].sum(), np.linalg.lstsq(a, a[0])[0].sum()]
        values += [np.fft.fft(a).real.sum(), np.polynomial.Polynomial([1, 2])(2.0)]
        values += [np.polyfit([0, 1, 2], [1, 2, 5], 1).sum()]
        values += [np.quantile(a, 0.3), np.histogram(a)[0].sum(), np.einsum("ij,ij", a, a), np.cov(a).sum()]
        values += [len(repr(a)), np.char.upper(np.array(["a"]))[0] == "A", np.rec.array([(1, 2)], names="a,b").a[0]]
        values += [len(np.lib.stride_tricks.sliding_window_view(np.arange(5), 2)), np.unique(a).size]
    """,
}

SCIPY = {
    "distributions": """
        from scipy.stats import beta as B, norm, binom, dirichlet, entropy
        import scipy.stats as st
        values = [B.cdf(0.5, 3, 2), B.ppf(0.3, 3, 2), B.sf(0.5, 3, 2), B(2, 3).mean(), B.interval(0.9, 2, 3)[0]]
        values += [B.fit(np.linspace(0.1, 0.8, 9), floc=0, fscale=1)[0], B.rvs(2, 3, random_state=1), B.entropy(2, 3)]
        values += [norm.cdf(1), norm.ppf(0.9), binom.pmf(3, 10, 0.4), binom.cdf(3, 10, 0.4), entropy([1, 2, 3])]
        values += [dirichlet.mean([1, 2, 3]).sum(), dirichlet([1, 2, 3]).rvs(3, random_state=2).sum()]
        values += [st.betabinom.pmf(2, 5, 1, 1), st.t.ppf(0.9, 5), st.gaussian_kde([1, 2, 3.5])(2)[0]]
        values += [st.binomtest(3, 10).proportion_ci().low, st.fisher_exact([[1, 2], [3, 4]])[1]]
    """,
    "special functions": """
        import scipy.special as sp
        from scipy.special import betainc, gammaln, digamma, logsumexp, expit, softmax
        values = [betainc(2, 3, 0.5), gammaln(3), digamma(3), logsumexp([1, 2]), expit(1), softmax([1, 2.0]).sum()]
        values += [sp.comb(5, 2), sp.betaincinv(2, 3, 0.4), sp.erf(0.3), sp.polygamma(1, 2), sp.zeta(3), sp.beta(2, 3)]
    """,
    "what they rest on": """
        import scipy.optimize, scipy.integrate
        values = [scipy.optimize.brentq(lambda x: x - 0.3, 0, 1), scipy.integrate.quad(lambda x: x, 0, 1)[0]]
        values += [scipy.optimize.minimize(lambda x: ((x - 1) ** 2).sum(), [0.0, 0.0]).fun]
    """,
}

END = "\nassert all(np.isfinite(float(each)) for each in values), values\nsession.open()\n"


@pytest.mark.parametrize("use", [*NUMPY.values(), *SCIPY.values()], ids=[*NUMPY, *SCIPY])
def test_numpy_and_scipy_work_in_the_sandbox(tmp_path: Path, use: str) -> None:
    lines = "\n".join(line.strip() for line in use.strip().splitlines())
    path = write(tmp_path, f"import numpy as np\n{lines}{END}")
    check_program(path)
    assert (evaluate(make_controller(path), STORE, seeds=range(2)).branches_opened == 1).all()


@pytest.mark.parametrize(
    "draw",
    [
        "np.random.rand()",
        "np.random.default_rng().random()",
        "np.random.default_rng(7).random()",
        "np.random.RandomState().rand()",
        "(np.random.seed(3), np.random.rand())[1]",
        "rand()",
        "beta.rvs(1, 1, random_state=4)",
    ],
)
def test_random_numbers_are_an_episodes_own_and_seeded_alike(tmp_path: Path, draw: str) -> None:
    solve = (
        "import numpy as np\nfrom numpy.random import rand\nfrom scipy.stats import beta\n"
        f"for _ in range(3):\n    for _ in range(1 + int(9 * {draw})):\n        session.open()\n    session.answers\n"
    )
    opened = evaluate(make_controller(write(tmp_path, solve)), STORE, seeds=range(4)).branches_opened
    assert len({*opened.reshape(-1).tolist()}) == 1
    assert opened[0, 0] > 3


def test_numbers_of_a_generator_that_episodes_share_are_noticed(tmp_path: Path) -> None:
    solve = (
        "from scipy.stats import beta\nfor _ in range(4):\n    for _ in range(1 + int(9 * beta.rvs(1, 1))):\n"
        "        session.open()\n    session.answers\n"
    )
    with pytest.raises(ProgramError, match="nondeterminism") as caught:
        evaluate(make_controller(write(tmp_path, solve), sandbox=Sandbox(audit_share=1)), STORE, seeds=range(8))
    assert caught.value.kind == "nondeterminism"


def test_scipy_is_not_loaded_with_the_package_nor_for_programs_without_it() -> None:
    code = (
        "import sys, autotts_gym; from autotts_gym.sandbox import check_program; "
        "check_program('agents/programs/sc.py'); assert 'scipy.stats' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
