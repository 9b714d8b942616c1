"""DNS messages, as far as a resolver needs them that answers bytes with bytes.

``question``  what a client asks, with its EDNS payload size (RFC 1035, RFC 6891)
``reply``     what an upstream answered, checked against the query it was sent for
``answer``    what the client is told: the sections after the question are built once, and
              only id, flags, the client's own spelling of the name and the age differ
``names``     wire form <-> text; ``svcb`` service parameters; ``codes`` the numbers

Names are kept in wire form and lower case (a label length is below 64, so ``bytes.lower``
cannot touch one), always with the root label. Readers never raise: they return a value,
``Malformed``, or ``ABSENT`` for a datagram that belongs to another query. Every inner length
is checked against the outer one, compression pointers only ever go backwards, and an answer
of more than ``reply.RECORD_LIMIT`` records is refused, so work is bounded by a constant.

dnspython is not used here, since forwarded answers pass here too (0.1 to 0.8 ms a message
there); it is what the tests compare these readers with.
"""

from ramnet.wire.dns.answer import (
    Answer,
    ExtendedError,
    address_answer,
    build_answer,
    empty_answer,
    error_message,
    render,
)
from ramnet.wire.dns.codes import (
    QTYPE,
    RCODE,
    rcode_text,
    type_text,
)
from ramnet.wire.dns.names import display, from_text, parent_names, to_text
from ramnet.wire.dns.question import Header, Question, read_header, read_question
from ramnet.wire.dns.reply import Record, Reply, build_query, read_reply
from ramnet.wire.dns.svcb import without_parameters

__all__ = [
    "QTYPE",
    "RCODE",
    "Answer",
    "ExtendedError",
    "Header",
    "Question",
    "Record",
    "Reply",
    "address_answer",
    "build_answer",
    "build_query",
    "display",
    "empty_answer",
    "error_message",
    "from_text",
    "parent_names",
    "rcode_text",
    "read_header",
    "read_question",
    "read_reply",
    "render",
    "to_text",
    "type_text",
    "without_parameters",
]
