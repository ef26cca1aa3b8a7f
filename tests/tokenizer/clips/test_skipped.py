"""The account of skipped clips: what it lets pass, what it refuses, and whom it names."""

import pytest

from videogpt_tokenizer.clips.skipped import SkippedClips


def account(skipped: int, *, total: int = 100, max_share: float = 0.05) -> SkippedClips:
    clips = SkippedClips(total, max_share)
    for number in range(skipped):
        clips.add(f"{number}.mp4", ValueError(f"{number}.mp4: is empty"))
    return clips


def test_the_allowed_share_passes_and_one_more_does_not() -> None:
    account(5).check(60)
    with pytest.raises(ValueError, match=r"6 of the first 60 clips .* max_bad_share=0.05 of all 100: 0.mp4: is empty;"):
        account(6).check(60)
    with pytest.raises(ValueError, match=r"6 of 100 clips cannot be used, .*Mend or remove them, or raise max_bad"):
        account(6).check(100)


def test_a_clip_that_is_required_may_not_be_skipped() -> None:
    account(2).check(100, required={"7.mp4"})
    with pytest.raises(ValueError, match=r"^1\.mp4: is empty$"):
        account(2).check(100, required={"1.mp4"})


def test_clips_that_are_all_bad_are_refused() -> None:
    skipped = SkippedClips(total=2, max_share=1)
    for name in ("same", "same"):
        skipped.add(name, ValueError("too short"))
    with pytest.raises(ValueError, match="none of 2 clips can be used: too short; too short"):
        skipped.check(2)


def test_ten_are_named_and_the_others_counted() -> None:
    skipped = account(12)
    assert len(skipped) == 12 and skipped.names[11] == "11.mp4"
    assert skipped.first_reasons().endswith("; 9.mp4: is empty; and 2 more")


@pytest.mark.parametrize("share", [-0.1, 2, float("nan")])
def test_what_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=f"max_bad_share={share:g} must lie between 0 and 1"):
        SkippedClips(10, share)
