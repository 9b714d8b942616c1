"""Names and entries over a tiny alphabet, so that they meet often."""

from hypothesis import settings
from hypothesis import strategies as st

from tests.unit.policy.reference import Line

PORTS = [80, 443, 5000]


def examples(count: int) -> settings:
    """The same ``count`` examples in every run, however slow the machine is."""
    return settings(max_examples=count, deadline=None, derandomize=True)


_labels = st.sampled_from(["a", "b", "ab", "a-b", "aa", "x1", "1"])
_last = st.sampled_from(["a", "com", "b"])
_wild = st.sampled_from(["a*", "*a", "*", "a*b", "*-*", "a*a*", "*1"])


@st.composite
def names(draw: st.DrawFn) -> str:
    """A normalised name of one to five labels."""
    return ".".join([*draw(st.lists(_labels, max_size=4)), draw(_last)])


@st.composite
def hosts(draw: st.DrawFn) -> str:
    """A host pattern that is accepted."""
    front = draw(st.lists(_labels | _wild, max_size=3))
    lead = draw(st.sampled_from([[], ["*"], ["**"]]))
    last = draw(_last if draw(st.integers(0, 4)) else st.sampled_from(["a*", "*m"]))
    return ".".join([*lead, *front, last])


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """One entry."""
    domain = draw(st.booleans())
    return Line(
        text=draw(names() if domain else hosts()),
        domain=domain,
        port=draw(st.sampled_from([None, None, *PORTS])),
        allowed=draw(st.integers(0, 3)) > 0,
        local=draw(st.integers(0, 5)) == 0,
    )
