import logging
import math
import random
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotts_gym.errors import StoreError
from autotts_gym.replay import Branch, Question, arithmetic, build_store
from autotts_gym.replay.equivalence import merger


@pytest.fixture(scope="module")
def merge():
    return merger("math")


@pytest.mark.parametrize(
    "same",
    [
        ["1/2", "0.5", r"\frac{1}{2}", r"\frac12", r"\dfrac{1}{2}", "$0.50$", ".5", r"\left(\frac{2}{4}\right)"],
        ["204", "0204", "204.", "204.0", r"\boxed{204}", "200 + 4", "2 * 102", r"2 \times 102", r"51 \cdot 4"],
        ["1,000", "1000", "10^3", "10^{3}", r"\sqrt{1000000}"],
        [r"2\sqrt{2}", r"\sqrt{8}", r"\sqrt 8", r"\frac{4}{\sqrt{2}}"],
        [r"12\pi", r"\pi \cdot 12"],
        ["0", "-0", "0.0", "1-1", r"\frac{0}{7}"],
        ["-3", "3-6", "(-3)"],
    ],
)
def test_equal_numbers_are_one_answer(same, merge):
    assert merge(same) == [0] * len(same)


@pytest.mark.parametrize(
    "different",
    [
        ["1/3", "0.333333", "0.3333333333"],
        ["9^{999}", "9^{999}+1", "9^{998}"],
        ["123456789012345678", "123456789012345679"],
        ["5", "-5", "5 hours", "5%", "x = 5", "5x", "{5}", "(5, 5)"],
        ["3 1/2", "7/2", "3/2", r"3\frac{1}{2}"],  # a mixed number, or a product
        ["2(3)", "6", "5"],
        ["6/2(1+2)", "9", "1"],
        ["1/0", "2/0", r"\frac{1}{0}"],
        ["ERR", "RER", "No", "oN", "", " ", "?", "√2", r"\text{A}", r"\infty"],
        ["Q + R", "q + r", "R + Q"],
        ["1,2", "2,1", "1.2", "1,20"],
    ],
)
def test_what_is_not_surely_equal_stays_apart(different, merge):
    assert merge(different) == list(range(len(different)))


def test_ids_are_numbered_by_first_appearance(merge):
    assert merge(["7", "1/2", "x", "14/2", "0.5", "8", "x "]) == [0, 1, 2, 0, 1, 3, 4]


def test_exact_keeps_every_string_apart():
    assert merger("exact")(["1/2", "0.5", "1"]) == [0, 1, 2]


def expressions(rng: random.Random, depth: int) -> tuple[str, Fraction]:
    """Returns a random arithmetic expression and its value."""
    if depth == 0:
        whole = rng.randint(0, 50)
        return rng.choice([(str(whole), Fraction(whole)), (f"{whole}.5", whole + Fraction(1, 2))])
    (a, x), (b, y) = expressions(rng, depth - 1), expressions(rng, depth - 1)
    match rng.choice("+-*/fsn"):
        case "+":
            return f"({a} + {b})", x + y
        case "-":
            return f"({a}-{b})", x - y
        case "*":
            return rf"({a} \times {b})", x * y
        case "/" if y:
            return f"({a}/{b})", x / y
        case "f" if y:
            return rf"\frac{{{a}}}{{{b}}}", x / y
        case "s":
            return f"({a})^2", x * x
        case _:
            return f"(-{a})", -x


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**9), depth=st.integers(1, 3))
def test_an_expression_equals_its_value_and_no_other(seed, depth, merge):
    text, value = expressions(random.Random(seed), depth)
    exact = f"{value.numerator}/{value.denominator}"
    other = f"{value.numerator * 3 + 1}/{value.denominator * 3}"
    ids = merge([exact, other, text])
    assert ids[1] == 1
    assert ids[2] in (0, 2)  # 2 where the expression is too long to be read
    if len(text) <= 80 and sum(map(text.count, "([{")) <= 12:
        assert ids[2] == 0


@pytest.mark.parametrize(
    "text",
    [
        "9^{9^{9^9}}",
        "((9^99)^99)^99",
        "{{9^{999}}^{999}}^{999}",
        "9**9**9**9",
        "10000!",
        r"\sum_{k=1}^{10^9} k",
        r"\int_0^1 x^x dx",
        "(" * 2000 + "1" + ")" * 2000,
        "{" * 40,
        "[" * 39 + "1" + "]" * 39,
        r"\frac{" * 10 + "1" + "}{2}" * 10,
        r"\sqrt{" * 11 + "9^{999}" + "}" * 11,
        "-" * 80 + "1",
        "1+" * 39 + "1",
        "9" * 100_000,
        "$" * 100_000,
        "999999999999999999999999999999^{999}",
        "\\" * 79,
        "0" * 79 + ".",
        "1." * 40,
        r"1/(1+\sqrt{2})+((((((((9^9)^9)^9)^9)^9)^9)^9)^9)",
        r"((((((1+\sqrt{2})^{-9})^9)^9)^9)^9)",
        r"\frac{1}{\sqrt{2}+\sqrt{3}+\sqrt{5}+\sqrt{7}+\sqrt{11}+\sqrt{13}}",
        "2^{1/10^{12}}",
        "1^{1/10^{12}}",
        "2^{1/999!}",
        "3^{1/300000000}",
        "+".join(["(3^{20601})^{1/2}/(3^{10300})"] * 6),
        "+".join(rf"\sqrt[{i}]{{(9{i}!)^{{3}}}}" for i in range(2, 10)),
        r"1/(1+\sqrt[31]{2}+\sqrt[29]{3})",
        "1/(" * 20 + r"1+\sqrt{2}" + r"+\sqrt{3})" * 20,
        r"\sqrt{1+" * 20 + "1" + "}" * 20,
        r"(\sqrt{2}+\sqrt{3}+\sqrt{5}+\sqrt{7})^{-31}",
        "+".join(rf"1/(\sqrt{{{p}}}+\sqrt{{7}}+1/999)" for p in (2, 3, 5, 6, 10, 11)),
    ],
)
def test_no_string_takes_long(text, merge):
    start = time.perf_counter()
    merge([text, "1"])
    assert time.perf_counter() - start < 5


PIECES = [*"0123456789.+-*/^(){}[] ", r"\frac", r"\sqrt", r"\pi", "{2}", "^{3}"]


@settings(max_examples=200, deadline=None)
@given(pieces=st.lists(st.lists(st.sampled_from(PIECES), max_size=12), max_size=8))
def test_random_arithmetic_never_fails(pieces, merge):
    texts = list(dict.fromkeys(map("".join, pieces)))
    ids = merge(texts)
    assert len(ids) == len(texts)
    assert sorted(set(ids)) == list(range(len(set(ids))))


def test_it_works_in_threads_without_a_word(merge, capfd, caplog):
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(4) as pool:
        results = list(pool.map(merge, [[f"{i}/4", str(i / 4), rf"\frac{{{i}}}{{4}}"] for i in range(1, 40)]))
    assert results == [[0, 0, 0]] * 39
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


def test_import_merges_ids_takes_gold_along_and_counts(merge):
    branches = [Branch(["ERR", "1/2"], 10, "0.5"), Branch(["3", None], 10, "3.0"), Branch(["7"], 10, "7")]
    questions = [Question("", r"\frac{1}{2}", branches), Question("", "8", branches)]
    store = build_store(questions, model="m", benchmark="b", interval_tokens=5, equivalence="math")
    assert store.answers(0) == ["ERR", "1/2", "3", "7"]  # each class is spelled as it was first seen
    assert store.answers(1) == ["ERR", "1/2", "3", "7", "8"]
    assert store.probes.tolist() == [0, 1, 2, -1, 3] * 2
    assert store.finals.tolist() == [1, 2, 3] * 2
    assert store.gold.tolist() == [1, 4]
    assert store.attributes["equivalence"] == "math"
    assert store.attributes["merged_answers"] == 3 + 2
    exact = build_store(questions, model="m", benchmark="b", interval_tokens=5)
    assert exact.attributes["merged_answers"] == 0
    assert exact.summary().pass_at_1 == 0.0
    assert store.summary().pass_at_1 == pytest.approx(1 / 6)


def test_an_unknown_equivalence_is_refused():
    with pytest.raises(StoreError, match="equivalence: expected exact or math, got 'fuzzy'"):
        merger("fuzzy")


HARMLESS = [
    [
        "1000",
        "1,000",
        "1{,}000",
        r"1\,000",
        "1 000",
        r"1,\!000",
        "1\u202f000",
        "\uff11\uff10\uff10\uff10",
        "1\u200b000",
        "1000.0",
    ],
    ["1234567", "1,234,567", "1{,}234{,}567", r"1\,234\,567", "1 234 567"],
    [
        "73",
        r"\(73\)",
        r"\[73\]",
        "$73$",
        "$$73$$",
        "**73**",
        r"\boxed{73}",
        r"$\boxed{\text{73}}$",
        "\ufeff73",
        r"\( 73 \)",
    ],
    ["13", r"\text{13}", r"\mathrm{13}", r"\textbf{13}", r"\mathbf{13}"],
    ["-5", "\u22125", "\uff0d\uff15", "(-5)", "$-5$"],
    ["(1,2)", "(1, 2)", r"\left(1, 2\right)", r"(1,\,2)", r"$(1, 2)$", "( 1 , 2 )", r"(\frac{2}{2}, 2)"],
    [r"\{1,2\}", r"\{1, 2\}", r"\left\{1,2\right\}"],
    [r"\sqrt{8}", r"2\sqrt{2}", r"\frac{4}{\sqrt{2}}", "8^{1/2}", r"\sqrt{2} + \sqrt{2}", r"\sqrt[4]{64}"],
    [r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt{2}", r"\frac{1}{\sqrt{2}-1}"],
    [r"\sqrt{2}-1", r"\frac{1}{1+\sqrt{2}}", r"\sqrt{(1-\sqrt{2})^2}", r"\sqrt{3-2\sqrt{2}}", r"(1+\sqrt{2})^{-1}"],
    [r"\sqrt{2}+\sqrt{3}", r"\sqrt{(\sqrt{2}+\sqrt{3})^2}", r"\frac{1}{\sqrt{3}-\sqrt{2}}", r"\sqrt{5+2\sqrt{6}}"],
    [r"\frac{1}{1+\sqrt[3]{2}}", r"\frac{1-\sqrt[3]{2}+\sqrt[3]{4}}{3}"],
    [r"\frac{\sqrt{5}-1}{2}", r"\frac{2}{1+\sqrt{5}}", r"\sqrt[4]{\frac{7-3\sqrt{5}}{2}}"],
    [r"\frac{1+\frac{1}{2}}{3}", "1/2", r"\frac{1}{1+\frac{1}{1}}"],
    ["120", "5!", r"\binom{10}{3}", r"\frac{6!}{3!}"],
    ["1024", "2^{10}", "2^10", r"2^{2 \cdot 5}"],
    [r"\frac{1}{2^{100}}", "1/2^100", "2^{-100}", r"\left(\frac{1}{2}\right)^{100}"],
    ["A", r"\text{A}", "**A**", "$A$"],
]
ROOTS = r"\frac{1}{1+\sqrt{2}}"
APART = [
    [rf"{ROOTS}+2^3^2", r"\sqrt{2}+63", r"\sqrt{2}+511", rf"{ROOTS}+2\frac12", r"\sqrt{2}+3/2", rf"{ROOTS}\approx 5"],
    [
        rf"{ROOTS}+6/2(1+2)",
        r"\sqrt{2}",
        r"\sqrt{2}+8",
        rf"{ROOTS}\ldots",
        r"\sqrt{2}-1",
        rf"{ROOTS}x",
        rf"{ROOTS}+{ROOTS}y",
    ],
    [r"\sqrt{1+\sqrt{2}}", r"\sqrt{1-\sqrt{2}}", r"\sqrt{1+\sqrt{3}}", "1.5537739740300374"],
    [r"\frac{1}{1+\pi}", r"\frac{1}{\pi}+1", r"\frac{1}{1-\pi}"],
    ["1/2^99", "1/2^98", "1-1/2^99", "1-1/2^98", "1/2^60", "1/3^60", "0", "1"],
    ["10^{100}", "10^{100}+1", "10^{101}", "10^{99}"],
    ["2^{3^{4^{5}}}", "2^{3^{4^{5}}}+1", "2^{3^{4^{6}}}", "9^{9^{9^9}}", "9^{9^{9^{9}}}"],
    ["1000!", "999!", "1000!+1", "10000!", "10001!"],
    [r"\sqrt{2}", "1.41421356", "1.4142135623730951", r"\sqrt{2+10^{-30}}", "99/70"],
    [r"\pi", "22/7", "355/113", "3.14159265358979323846", r"\pi+10^{-40}", r"\sqrt{10}"],
    [r"\sqrt{2}+\sqrt{3}", r"\sqrt{10}", r"\sqrt{5}", "3.1462643699419723"],
    [r"\sqrt[3]{2}", r"\sqrt{2}", "1.2599210498948732", "2^{1/3}+2^{-200}"],
    ["0.1+0.2", "0.30000000000000004", "3/10+10^{-60}"],
    ["1 1/2", "11/2", "3/2", r"1\frac{1}{2}"],
    ["5", "5 cm", r"5\text{ cm}", "5%", r"5\%", "0.05", "$5", r"5^\circ", "5x", "x=5", "[5]", "{5}", r"\{5\}"],
    ["(1,2)", "[1,2]", "(1,2]", "[1,2)", "1,2", "1.2", "12", r"\{1,2\}", "(2,1)", "1, 2"],
    ["(1,234)", "(1, 234)", "(1234)", "[1,234]", "[1, 234]"],
    ["(1,000)", "(1,0)", "1,000", "(1,0,0,0)"],
    ["0,123", "123", "0.123", "0123,456"],
    ["1,00", "100", "1,0000", "10,000"],
    ["1 000 m", "1000", "1 00", "100"],
    [r"\sqrt{-1}", "i", r"\sqrt{-4}", "(-8)^{1/3}", "-2"],
    ["0^0", "1", "1/0", "2/0"],
    ["2\u20623", "23", "6"],
    ["A", "a", "B", "None", "ERR"],
    [r"\boxed{1}+\boxed{2}", "3", r"\text{1}\text{2}", "12", "**1** or **2**"],
    ["x ", "x", " x"],
]


@pytest.mark.parametrize("same", HARMLESS)
def test_harmless_spellings_are_one_answer(same, merge):
    assert merge(same) == [0] * len(same)
    assert merge(same[::-1]) == [0] * len(same)


@pytest.mark.parametrize("different", APART)
def test_near_and_ambiguous_answers_stay_apart(different, merge):
    assert merge(different) == list(range(len(different)))
    assert merge(different[::-1]) == list(range(len(different)))


def test_merging_does_not_depend_on_order_and_is_transitive(merge):
    texts = list(dict.fromkeys(text for group in [*HARMLESS, *APART] for text in group))
    classes = {frozenset(t for t, i in zip(texts, ids, strict=True) if i == k) for ids in [merge(texts)] for k in ids}
    rng = random.Random(0)
    for _ in range(5):
        rng.shuffle(texts)
        ids = merge(texts)
        assert {frozenset(t for t, i in zip(texts, ids, strict=True) if i == k) for k in ids} == classes
    for one, other in rng.sample([(a, b) for a in texts for b in texts], 500):
        assert (len(set(merge(list(dict.fromkeys([one, other]))))) == 1) == any({one, other} <= c for c in classes)


def radicals(rng: random.Random) -> tuple[str, dict[int, Fraction]]:
    """Returns a sum of rational multiples of square roots of different primes, and its coefficients."""
    parts = {prime: Fraction(rng.randint(1, 9), rng.randint(1, 9)) for prime in rng.sample([2, 3, 5, 7], 2)}
    return " + ".join(rf"\frac{{{c.numerator}}}{{{c.denominator}}}\sqrt{{{p}}}" for p, c in parts.items()), parts


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_sums_of_roots_are_one_only_if_their_coefficients_are(seed, merge):
    rng = random.Random(seed)
    (a, x), (b, y) = radicals(rng), radicals(rng)
    scaled = " + ".join(rf"\frac{{{c.numerator}}}{{{c.denominator * 3}}}\sqrt{{{9 * p}}}" for p, c in x.items())
    ids = merge(list(dict.fromkeys([a, scaled, b, f"{a} + 10^{{-50}}"])))
    assert ids[1] == 0
    assert (0 in ids[2:-1]) == (x == y and len(ids) == 4)
    assert ids[-1] not in ids[:-1]


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_an_inverse_times_its_number_is_one_and_a_root_squared_is_its_number(seed):
    rng = random.Random(seed)
    text, _ = radicals(rng)
    whole = rng.choice(["", f"{rng.randint(-9, 9)} + ", rf"\sqrt[3]{{{rng.randint(2, 5)}}} + "])
    value = arithmetic.evaluate(f"{whole}{text}")
    assert arithmetic.multiply(value, arithmetic.power(value, Fraction(-1))) == arithmetic.rational(1)
    root = arithmetic.evaluate(text if rng.random() < 0.5 else text.replace(" + ", " - "))
    found = arithmetic.power(arithmetic.multiply(root, root), Fraction(1, 2))
    assert found in (root, arithmetic.negative(root))
    approximate = sum(
        float(factor) * math.prod(base ** float(degree) for base, degree in monomial)
        for monomial, factor in found.items()
    )
    assert approximate > 0
