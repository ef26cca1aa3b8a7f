"""Many things in one line."""

from videogpt_tokenizer.files.wording import some_of


def test_the_first_few_are_named_and_the_rest_counted():
    assert some_of([]) == "" and some_of(["a"]) == "a" and some_of("abc") == "a, b, c"
    assert some_of("abcd") == "a, b, c, and 1 more"
    assert some_of(["a is bad", "b is bad", "c is bad"], 1, "; ") == "a is bad; and 2 more"
