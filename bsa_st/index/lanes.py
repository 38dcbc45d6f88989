"""Vector operations on 512 documents' bits, 64 documents' bytes or 64 numbers at a time, through LLVM.

Written out because LLVM does not vectorise loops over so many arrays that might overlap. The code is the same on every processor; LLVM
splits the vectors where registers are narrower. Addresses are int64; a "word" is 64 documents of a bitmap.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from bsa_st.index.bits import intrinsic

LANES = 8
"""Words that are counted at a time; tiles are a multiple of it."""
AT_A_TIME = 8
"""Bitmaps that are added at a time; lists of bitmaps are filled up to a multiple of it."""
FOUR = 4
"""Bitmaps whose weights are added to bytes at a time."""

INT = ir.IntType(64)
WORDS = ir.VectorType(INT, LANES)
BYTES = ir.VectorType(ir.IntType(8), 64)
NUMBERS = ir.VectorType(ir.IntType(32), 64)
MASK = ir.VectorType(ir.IntType(1), 64)


def _at(builder: Any, address: Any, index: Any, kind: Any = INT, unit: Any = INT) -> Any:
    """Pointer to ``kind`` at ``index`` units from ``address``."""
    return builder.bitcast(builder.gep(builder.inttoptr(address, unit.as_pointer()), [index]), kind.as_pointer())


def _full_adder(builder: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    half = builder.xor(a, b)
    return builder.xor(half, c), builder.or_(builder.and_(a, b), builder.and_(half, c))


def _add_eight(builder: Any, planes: list[Any], bitmaps: list[Any]) -> None:
    """Carry-save tree of eight bitmaps into the counters in ``planes``, which are variables of the function."""
    ones, twos, fours = (builder.load(plane) for plane in planes[:3])
    pairs = []
    for number in range(0, AT_A_TIME, 2):
        ones, carried = _full_adder(builder, ones, bitmaps[number], bitmaps[number + 1])
        pairs.append(carried)
    twos, first = _full_adder(builder, twos, pairs[0], pairs[1])
    twos, second = _full_adder(builder, twos, pairs[2], pairs[3])
    fours, carry = _full_adder(builder, fours, first, second)
    for plane, value in zip(planes, (ones, twos, fours), strict=False):
        builder.store(value, plane)
    for plane in planes[3:]:
        value = builder.load(plane)
        builder.store(builder.xor(value, carry), plane)
        carry = builder.and_(value, carry)


def counter_of(planes: int) -> Any:
    """An intrinsic that counts weighted bitmaps for eight words of documents, with the counters of ``planes`` bits in registers.

    Its arguments: the address of the bitmaps' addresses, grouped by the bits of their weights, highest bit first; the address of the
    ends of these groups; their number; the address of the planes, which are written; bytes from plane to plane; the first word.
    """

    @intrinsic
    def count_eight_words(typing_context: Any, table: Any, ends: Any, bits: Any, target: Any, stride: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            table, ends, bits, target, stride, place = arguments
            slots = [cgutils.alloca_once(builder, WORDS) for _ in range(planes)]
            nothing = ir.Constant(WORDS, [0] * LANES)
            for slot in slots:
                builder.store(nothing, slot)
            start = cgutils.alloca_once(builder, INT)
            builder.store(ir.Constant(INT, 0), start)
            with cgutils.for_range(builder, bits, intp=INT) as bit:
                for number in range(planes - 1, 0, -1):
                    builder.store(builder.load(slots[number - 1]), slots[number])
                builder.store(nothing, slots[0])
                end = builder.load(_at(builder, ends, bit.index))
                with cgutils.for_range_slice(builder, builder.load(start), end, ir.Constant(INT, AT_A_TIME), intp=INT) as (
                    index,
                    _,
                ):
                    bitmaps = []
                    for number in range(AT_A_TIME):
                        address = builder.load(_at(builder, table, builder.add(index, ir.Constant(INT, number))))
                        bitmaps.append(builder.load(_at(builder, address, place, WORDS), align=8))
                    _add_eight(builder, slots, bitmaps)
                builder.store(end, start)
            for number, slot in enumerate(slots):
                row = builder.add(target, builder.mul(stride, ir.Constant(INT, number)))
                builder.store(builder.load(slot), _at(builder, row, place, WORDS), align=8)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), generate

    return count_eight_words


@intrinsic
def at_least_eight_words(
    typing_context: Any, planes: Any, stride: Any, top: Any, bound: Any, within: Any, out: Any, place: Any
) -> Any:
    """Add to ``out`` the documents of ``within`` whose counter is above ``bound``; returns whether there are any.

    Args:
        typing_context: Of numba.
        planes: Address of the counters' planes.
        stride: Bytes from plane to plane.
        top: Number of planes.
        bound: What the counters are compared with.
        within: Address of a bitmap.
        out: Address of a bitmap, updated.
        place: First word.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        planes, stride, top, bound, within, out, place = arguments
        equal, above = cgutils.alloca_once(builder, WORDS), cgutils.alloca_once(builder, WORDS)
        builder.store(builder.load(_at(builder, within, place, WORDS), align=8), equal)
        builder.store(ir.Constant(WORDS, [0] * LANES), above)
        ones = ir.Constant(WORDS, [-1] * LANES)
        with cgutils.for_range(builder, top, intp=INT) as step:
            level = builder.sub(builder.sub(top, step.index), ir.Constant(INT, 1))
            plane = builder.load(_at(builder, builder.add(planes, builder.mul(stride, level)), place, WORDS), align=8)
            left = builder.load(equal)
            both, neither = builder.and_(plane, left), builder.and_(left, builder.xor(plane, ones))
            bit = builder.trunc(builder.lshr(bound, level), ir.IntType(1))
            builder.store(builder.select(bit, both, neither), equal)
            so_far = builder.load(above)
            builder.store(builder.select(bit, so_far, builder.or_(so_far, both)), above)
        target = _at(builder, out, place, WORDS)
        found = builder.load(above)
        builder.store(builder.or_(builder.load(target, align=8), found), target, align=8)
        wide = builder.bitcast(found, ir.IntType(64 * LANES))
        return builder.zext(builder.icmp_unsigned("!=", wide, ir.Constant(wide.type, 0)), INT)

    return types.int64(*[types.int64] * 7), generate


@intrinsic
def add_to_bytes(typing_context: Any, table: Any, weights: Any, sums: Any, place: Any) -> Any:
    """Add a weight to the bytes of the documents that are in a bitmap, for four bitmaps and the 64 documents of a word.

    Args:
        typing_context: Of numba.
        table: Address of the four bitmaps' addresses, int64.
        weights: Address of their weights, int64.
        sums: Address of the bytes of all documents, updated.
        place: The word.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table, weights, sums, place = arguments
        target = _at(builder, sums, place, BYTES, BYTES)
        total = builder.load(target, align=1)
        for number in range(FOUR):
            index = ir.Constant(INT, number)
            word = builder.load(_at(builder, builder.load(_at(builder, table, index)), place))
            weight = builder.trunc(builder.load(_at(builder, weights, index)), ir.IntType(8))
            added = builder.add(total, _everywhere(builder, weight))
            total = builder.select(builder.bitcast(word, MASK), added, total)
        builder.store(total, target, align=1)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


@intrinsic
def bytes_at_least(typing_context: Any, sums: Any, least: Any, place: Any) -> Any:
    """The documents of word ``place`` whose byte is at least ``least``, from 0 to 255, as a word.

    Args:
        typing_context: Of numba.
        sums: Address of the bytes of all documents.
        least: What they are compared with.
        place: The word.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, least, place = arguments
        values = builder.load(_at(builder, sums, place, BYTES, BYTES), align=1)
        bound = _everywhere(builder, builder.trunc(least, ir.IntType(8)))
        return builder.bitcast(builder.icmp_unsigned(">=", values, bound), INT)

    return types.uint64(*[types.int64] * 3), generate


@intrinsic
def bit_of_numbers(typing_context: Any, numbers: Any, bit: Any, place: Any) -> Any:
    """Bit ``bit`` of 64 int32, as a word.

    Args:
        typing_context: Of numba.
        numbers: Address of all numbers.
        bit: Which bit.
        place: Which 64 of them.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        numbers, bit, place = arguments
        values = builder.load(_at(builder, numbers, place, NUMBERS, NUMBERS), align=4)
        one = builder.shl(ir.Constant(ir.IntType(32), 1), builder.trunc(bit, ir.IntType(32)))
        kept = builder.and_(values, _everywhere(builder, one, NUMBERS))
        return builder.bitcast(builder.icmp_unsigned("!=", kept, ir.Constant(NUMBERS, [0] * 64)), INT)

    return types.uint64(*[types.int64] * 3), generate


@intrinsic
def add_to_numbers(typing_context: Any, word: Any, worth: Any, numbers: Any, place: Any) -> Any:
    """Add ``worth`` to those of 64 int32 whose bit is set in ``word``.

    Args:
        typing_context: Of numba.
        word: Which numbers.
        worth: What is added.
        numbers: Address of all numbers, updated.
        place: Which 64 of them.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word, worth, numbers, place = arguments
        target = _at(builder, numbers, place, NUMBERS, NUMBERS)
        values = builder.load(target, align=4)
        added = builder.add(values, _everywhere(builder, builder.trunc(worth, ir.IntType(32)), NUMBERS))
        builder.store(builder.select(builder.bitcast(word, MASK), added, values), target, align=4)
        return context.get_dummy_value()

    return types.void(types.uint64, *[types.int64] * 3), generate


def _everywhere(builder: Any, value: Any, kind: Any = BYTES) -> Any:
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), mask)
