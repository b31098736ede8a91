"""How the answers of one notebook's exercises are listed, for ``test_exercises``."""


def answers_of():
    """``RIGHT, WRONG``, by exercise, and ``right`` and ``wrong``, which enter answers; a wrong one comes with words."""
    all_right, all_wrong = {}, {}

    def right(number, *answers):
        all_right[number] = answers

    def wrong(number, *pairs):
        all_wrong[number] = pairs

    return all_right, all_wrong, right, wrong
