"""What a run reads and when: a function of the seed and the step; epochs, mixtures, caps, validation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaling.errors import ScalingError
from sweeps.order import (
    check_run,
    epochs_per_source,
    segment_offsets,
    sources_of,
    unique_per_source,
    validation_sequences,
    validation_sources,
)
from sweeps.runs import Run
from sweeps.tokens import Part, Tokens, load

MIXED = (("code", 0.75), ("web", 0.25))


def a_run(**changes: Any) -> Run:
    fields: dict[str, Any] = dict(width=16, depth=1, steps=100, lr=0.1, context=32, batch=5, seed=3, val_sequences=8)
    return Run(**fields | changes)


def a_text(n_tokens: int, validation: int = 2000) -> Tokens:
    return Tokens(np.zeros(n_tokens, np.uint8), np.arange(validation).astype(np.uint8), (), "test")


def two_sources(code: int = 40_000, web: int = 10_000) -> Tokens:
    parts = (Part("code", 0, code, 0, 1500), Part("web", code, web, 1500, 500))
    train = np.repeat(np.array([0, 1], np.uint8), [code, web])
    return Tokens(train, np.repeat(np.array([0, 1], np.uint8), [1500, 500]), (), "code, web", parts=parts)


@pytest.mark.parametrize("n_tokens", [1000, 1033, 32 * 8])
def test_an_epoch_goes_once_through_windows_that_do_not_overlap(n_tokens):
    run = a_run()
    windows = (n_tokens - run.context) // run.context
    flat = segment_offsets(a_text(n_tokens), run, 0, 3 * windows).ravel()
    assert flat.min() >= 0
    assert flat.max() + run.context + 1 <= n_tokens
    epochs = [np.sort(flat[i * windows : (i + 1) * windows]) for i in range(3 * run.batch)]
    for epoch in epochs:
        assert np.array_equal(np.diff(epoch), np.full(windows - 1, run.context))
    assert len({int(epoch[0]) for epoch in epochs}) > 1, "epochs have shifts of their own"


CASES = {
    "plain": (a_text(10**5), a_run()),
    "capped": (a_text(10**5), a_run(unique_tokens=32 * 50)),
    "mixed": (two_sources(), a_run(mixture=MIXED)),
    "mixed and capped": (two_sources(), a_run(mixture=MIXED, unique_tokens=32 * 40)),
}


@pytest.mark.parametrize("case", CASES)
def test_batches_are_functions_of_the_seed_and_the_step(case):
    tokens, run = CASES[case]
    whole = segment_offsets(tokens, run, 0, 700)
    assert (whole.shape, whole.dtype) == ((700, run.batch), np.int64)
    for first, count in ((699, 1), (0, 1), (350, 200), (13, 0)):  # a resumed run asks from where it stands
        assert np.array_equal(segment_offsets(tokens, run, first, count), whole[first : first + count])
    other = run.model_copy(update={"seed": 4})
    assert not np.array_equal(segment_offsets(tokens, other, 0, 1), whole[:1])


def test_the_order_of_training_never_changes():
    # Written down from the first version: resumed and repeated runs rest on it, on every platform and numpy.
    run = a_run(context=64, batch=4, seed=7)
    assert segment_offsets(a_text(10_000), run, 11, 1).tolist() == [[5963, 3403, 8395, 6667]]


def test_the_order_of_mixtures_and_caps_never_changes():
    # Written down when mixtures and caps came, for the same reason.
    assert {case: segment_offsets(*CASES[case], 11, 1)[0].tolist() for case in CASES} == {
        "plain": [60280, 40952, 82968, 62136, 43512],
        "capped": [48864, 94944, 72992, 73184, 84960],
        "mixed": [21368, 14936, 26328, 43711, 43615],
        "mixed and capped": [3424, 7104, 35040, 40256, 47104],
    }


def test_a_mixture_draws_sources_by_weight_and_each_has_epochs_of_its_own():
    tokens, run = two_sources(), a_run(mixture=MIXED)
    steps = 1000
    sources = sources_of(tokens, run, 0, steps).ravel()
    assert abs(np.mean(sources == 1) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / sources.size)  # four standard deviations
    flat = segment_offsets(tokens, run, 0, steps).ravel()
    for number, part in enumerate(tokens.parts):
        own = flat[sources == number]
        windows = (part.tokens - run.context) // run.context
        epochs = [np.sort(own[i : i + windows]) for i in range(0, len(own) - windows, windows)]
        assert len(epochs) >= 2
        for epoch in epochs:
            assert np.array_equal(np.diff(epoch), np.full(windows - 1, run.context))
            assert part.start <= epoch[0] and epoch[-1] + run.context + 1 <= part.start + part.tokens


def test_the_place_in_a_source_is_known_far_into_a_run(monkeypatch):
    tokens, run = two_sources(), a_run(mixture=MIXED)
    whole = segment_offsets(tokens, run, 0, 700)
    monkeypatch.setattr("sweeps.order.COUNTED", 64)  # so that the run goes through many counted blocks
    from sweeps import order

    order._blocks.cache_clear()
    assert np.array_equal(segment_offsets(tokens, run, 500, 200), whole[500:])
    order._blocks.cache_clear()


def test_a_source_of_weight_1_is_read_as_if_it_were_alone_but_for_its_place():
    tokens = two_sources()
    alone, mixed = a_run(), a_run(mixture=(("code", 1.0),))
    assert np.array_equal(segment_offsets(tokens, alone, 0, 50), segment_offsets(tokens, mixed, 0, 50))


@pytest.mark.parametrize("windows", [1, 7, 100])
def test_a_capped_run_sees_exactly_its_windows_once_an_epoch(windows):
    tokens, run = a_text(10**4), a_run(unique_tokens=32 * windows)
    flat = segment_offsets(tokens, run, 0, 4 * windows).ravel()  # 20 epochs of 5 sequences a step
    epochs = flat.reshape(20, windows)
    assert all(len(set(epoch.tolist())) == windows for epoch in epochs)
    assert len({tuple(sorted(epoch.tolist())) for epoch in epochs}) == 1
    assert np.all(flat % run.context == 0)
    assert epochs_per_source(tokens, a_run(unique_tokens=32 * windows, steps=4 * windows)) == {"": 20.0}


def test_the_windows_of_a_cap_are_those_of_every_larger_one_and_of_every_seed():
    tokens = a_text(10**5)

    def seen(windows: int, seed: int) -> set[int]:
        run = a_run(unique_tokens=32 * windows, seed=seed)
        return set(segment_offsets(tokens, run, 0, windows).ravel().tolist())

    assert seen(50, 0) == seen(50, 1) < seen(80, 2)
    assert max(seen(50, 0)) > 8e4, "spread over the text"


def test_the_cap_of_a_mixture_is_shared_by_weight_and_adds_up():
    tokens, run = two_sources(), a_run(mixture=MIXED, unique_tokens=32 * 41)
    unique = unique_per_source(tokens, run)
    assert (sum(unique.values()), unique["code"]) == (32 * 41, 32 * 31)
    epochs = epochs_per_source(tokens, run)
    assert epochs["code"] == pytest.approx(epochs["web"], rel=0.05)  # up to one window
    assert unique_per_source(tokens, a_run(mixture=MIXED)) == {"code": 40_000, "web": 10_000}


def test_the_whole_text_as_a_cap_is_allowed_and_one_window_more_is_not():
    tokens = a_text(32 * 10 + 1)
    check_run(tokens, a_run(unique_tokens=32 * 10))
    assert segment_offsets(tokens, a_run(unique_tokens=320), 0, 9).max() == 288
    with pytest.raises(ScalingError, match=r"unique_tokens = 352 asks for 352 tokens .* has 320 in whole windows"):
        check_run(tokens, a_run(unique_tokens=32 * 11))


@pytest.mark.parametrize(
    ("tokens", "run", "message"),
    [
        (a_text(50), a_run(), r"training text .* has 50 tokens, but two sequences of context = 32 need 64"),
        (a_text(999, 100), a_run(), r"validation text .* val_sequences = 8 .* need 257: .* lower val_sequences or"),
        (a_text(999), a_run(vocab=100), r"vocab must be at least 256, .* got 100"),
        (a_text(999), a_run(mixture=MIXED), r"has no source 'code'"),
        (two_sources(), a_run(), r"2 sources, and the run w16.* no mixture"),
        (two_sources(), a_run(mixture=(("cod", 1.0),)), r"no source 'cod'; it has code, web"),
        (two_sources(web=50), a_run(mixture=MIXED), r"source 'web' has 50 tokens"),
        (two_sources(), a_run(mixture=MIXED, unique_tokens=32), r"leaves the source 'web' no window"),
        (two_sources(), a_run(mixture=MIXED, unique_tokens=32 * 1300), r"10400 tokens of the source 'web', .* 9984"),
        (two_sources(), a_run(mixture=MIXED, val_sequences=1), r"gives no sequence to some of the 2 sources"),
        (two_sources(), a_run(mixture=MIXED, val_sequences=40), r"source 'web' has 500 tokens, .* need 641"),
    ],
)
def test_a_corpus_that_lacks_what_a_run_asks_for_says_which_part_and_by_how_much(tokens, run, message):
    with pytest.raises(ScalingError, match=message):
        check_run(tokens, run)


def test_the_validation_set_is_spread_over_the_validation_text_without_overlap(tmp_path: Path):
    for i in range(20):
        (tmp_path / f"{i:02}.txt").write_text(f"file {i:02} says {i * 7919}. " * 5)
    tokens = load(tmp_path)
    sequences = validation_sequences(tokens, 16, 5)
    assert sequences.shape == (5, 17)
    text = tokens.validation.tobytes()
    free = len(text) - 17
    starts = [i * free // 4 for i in range(5)]
    assert [row.tobytes() for row in sequences] == [text[s : s + 17] for s in starts]
    tight = (len(text) - 1) // 16  # as many as fit
    assert validation_sequences(tokens, 16, tight).shape == (tight, 17)
    assert validation_sequences(tokens, 16, 1).shape == (1, 17)


def test_validation_sequences_know_their_source():
    tokens = two_sources()
    for count in (2, 7, 12):
        sources = validation_sources(tokens, count)
        assert abs(int((sources == 0).sum()) - count / 2) <= 0.5
        assert np.array_equal(validation_sequences(tokens, 32, count), np.repeat(sources[:, None], 33, axis=1))
