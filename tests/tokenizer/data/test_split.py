"""The split: no clip changes sides, whatever happens to the others, and in no later version."""

from videogpt_tokenizer.data.split import split_by_name


def test_fixed_names_stay_on_their_sides() -> None:
    """What fails here moves clips that models were trained on into their validation: mend the code, not the test."""
    names = [f"{number}.mp4" for number in range(60)]
    assert split_by_name(names, 0.1)[1] == [0, 7, 8, 9, 16, 37]
    words = ["a red circle", "dog.webm", "films/1/clip07.avi", "Zürich", ""]
    assert split_by_name(words, 0.5) == ([0, 1, 2, 4], [3])


def test_order_and_other_clips_do_not_matter() -> None:
    names = [f"{number}.mp4" for number in range(300)]
    training, validation = split_by_name(names, 0.1)
    assert 15 < len(validation) < 45 and sorted(training + validation) == list(range(300))
    assert split_by_name(names[::-1], 0.1)[1] == [299 - index for index in validation[::-1]]
    assert split_by_name(names[:200], 0.1)[1] == [index for index in validation if index < 200]


def test_equal_names_stay_together() -> None:
    names = [f"{index // 5}.mp4" for index in range(1000)]
    training, validation = split_by_name(names, 0.2)
    assert sorted(training + validation) == list(range(1000))
    assert not {names[index] for index in training} & {names[index] for index in validation}
    assert 150 < len(validation) < 250


def test_one_name_validates_in_any_case_and_trains_in_none() -> None:
    training, validation = split_by_name(["a", "b"], 0.01)
    assert len(training) == len(validation) == 1
    assert split_by_name(["a", "a"], 0.01) == ([], [0, 1])


def test_names_of_files_need_not_be_text() -> None:
    names = ["caf\udce9.mp4", "half \ud83d.mp4", *map(str, range(40))]
    training, validation = split_by_name(names, 0.3)
    assert sorted(training + validation) == list(range(42))
