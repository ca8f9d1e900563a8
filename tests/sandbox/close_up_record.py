"""A small close-up with each kind of thing in it."""

from sandbox.close_up import CloseUp, Conduct, End, Fate, Request, Series, Tenant, Why, Window

SERIES = Series((1.0, None), (1.5, 2.0), (0.0, 0.5), (None, 0.5), (0, 1), (0.1, None), (2, 2))
CONDUCT = Conduct(1.0, tuple(map(float, range(33))), (), (), 3, 0, 0, 1, 0, 2, 1, 3.6, 120.5, 0,
                  (0.25, 0.75), SERIES)  # fmt: skip
FATE = Fate(End.FINISHED, 1.0, 2.0, 0.5, 0, 0, 0, 0, (1, 2), (0, 0))
LOST = Fate(End.NEVER_CAME, None, None, None, -1, 0, 0, 0, (), ())
REQUEST = Request(7, 1.0, 1, 100, 20, 1.5, LOST, FATE)
WINDOW = Window("w03+rate1.25", Why.WORST, True, 5.0, 15.0, 5.0, 3, CONDUCT, CONDUCT, (REQUEST,),
                (), (Tenant(0, 0.5, 0.5, 0.5, 1.0, None),))  # fmt: skip
RECORD = CloseUp("a" * 64, "b" * 64, (WINDOW,))
