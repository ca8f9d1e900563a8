"""What a model may be asked for: a whole policy, edits of one, or the child of two."""

from enum import StrEnum


class Move(StrEnum):
    """One way to ask a model for a candidate; each is an arm of its own.

    REWRITE wants a whole policy. DIFF wants SEARCH/REPLACE blocks against the parent's text, in a
    repair against the text of the latest try, if there is one. CROSSOVER wants a whole policy that
    joins the parent with the first of the others.
    """

    REWRITE = "rewrite"
    DIFF = "diff"
    CROSSOVER = "crossover"
