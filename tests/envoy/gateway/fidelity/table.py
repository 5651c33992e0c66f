"""The rows of all entries."""

from tests.envoy.gateway.fidelity import answers, efforts, histories, inputs, names, references, schemas, wire

ROWS = [
    *(*schemas.ROOT, *schemas.COMBINATORS, *names.NAMES, *names.HYPHENATED),
    *(*references.REFERENCES, *references.NULL),
    *(*histories.PAST, *histories.OWN, *histories.LATER, *histories.PROSE),
    *(*inputs.SEEN, *inputs.METADATA),
    *(*answers.INLINE, *answers.STRUCTURED, *answers.FENCED, *answers.MADE),
    *(*efforts.EFFORTS, *efforts.CELLS),
    *(*wire.FILES, *wire.NOTATION, *wire.COUNTED, *wire.CACHED, *wire.WEB, *wire.TIERS, *wire.ERRORS),
    *(*wire.DOCUMENTS, *wire.GUARDED),
]
