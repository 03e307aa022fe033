"""What passes between Python and the compiled kernels: a *frame*, an array of 64-bit slots.

Slots hold numbers, or addresses of arrays that live as long as the call. Neither numba nor torch is needed to fill one.
"""

__all__ = ["CODES", "SLOTS"]

# fmt: off
(
    COUNT,        # operands
    ROWS, WIDTH,  # rows of an operand, elements in a row
    SEGMENT,      # elements that are cut into chunks together, and draw from one stream
    STREAM,       # index of the first element in its stream of draws: chunks end at multiples of CHUNK of it
    MODELS,       # address of int64 (count,): address of each model's raw elements
    MODEL_CODES,  # address of int64 (count,): their element types
    BASE,         # address of raw elements that are subtracted from every model's; 0 without
    BASE_CODE,    # their element type
    STAGES,       # address of int64 (stages, STAGE): what is done to the operands
    STAGE_COUNT,  # number of stages, of all operands together
    FIRST_STAGE,  # address of int64 (count + 1,): where each operand's stages begin
    SEEN,         # address of int64 (stages,): entries on a cut seen so far
    SCRATCH,      # address of float32 (count + SPARE_CHUNKS, CHUNK)
    LANES,        # address of what one row's partial results need: see LANES_PER_PAIR and DIGIT_STATE
    RESULT,       # address of the answer
    ASKED,        # address of int64: candidates (count, LISTS, EACH), intervals (count, 3), or ranks (count,)
    LISTS, EACH,  # lists of candidates per operand, candidates in each
    WEIGHTS,      # address of float32 (count, rows); (count, width) where columns have their own
    CHOICE,       # of a disjoint merge: 0 mean, 1 sum, 2 the largest, 3 the mean by signed weights
    UNDECIDED,    # address of int64 (rows,): sign of entries whose weighted sum is zero; EVERY_SIGN: no election
    SCALE,        # address of float32 (1,): factor on a disjoint merge
    ADDED,        # address of raw elements that are added to the merged ones; 0 without
    ADDED_CODE,   # their element type
    OUT,          # address of the merged raw elements
    OUT_CODE,     # their element type
) = range(27)
# fmt: on
SLOTS = 27
CHUNK = 1024  # elements worked on at a time: a handful of float32 chunks stay in the innermost cache
SPARE_CHUNKS = 5  # beyond those of the operands: base, total, mass, and two for whatever a chunk needs on the way
EVERY_SIGN = 2
BINS = 1 << 14  # of a histogram
LANES_PER_PAIR = 64  # float64 sums that an inner product, or a norm, is spread over: in a fixed order, and fast
DIGITS = 3  # turns in which a cut is found: 11, 10 and 10 bits of the magnitude
DIGIT_STATE = 2 + (1 << 11)  # int64 per operand: bits found, rank inside, counts of the next digit

# Operations. The first six look at all operands of a chunk together.
SUM, AGREE, GRAM, VOTE, COLUMN_SUM, COLUMN_GRAM, TALLY, HISTOGRAM, SELECT, VALUES, NORMS = range(11)
# Stages, and what their slots hold.
STAGE = 6
KEEP, CLEAR, DROP, CLIP, MULTIPLY = range(5)  # cuts come first
# Address of int64 (3, rows): bits, spare, before; DROP (segments,): names of streams; CLIP and
# MULTIPLY (rows,): float32 bits.
TABLE, COLUMNS = 1, 2
KEY, THRESHOLD, RESCALE = 3, 4, 5  # DROP: the key, probability times 2^32, bits of a float32
# What a kernel returns, one or several.
NOT_FINITE_IN, NOT_FINITE_OUT, LOST = 1, 2, 4
# Element types.
BF16, F16, F32 = range(3)

CODES = {"BF16": BF16, "F16": F16, "F32": F32}
"""Element types that kernels read and write, by name."""
