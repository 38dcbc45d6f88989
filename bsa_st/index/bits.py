"""Bit operations that numba does not offer, through LLVM: on single words, and on eight words at a time."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types

intrinsic: Any = extending.intrinsic
LANES = 8
"""Words that are added at a time; bitmaps are a multiple of it."""


@intrinsic
def popcount(typing_context: Any, word: Any) -> Any:
    """Number of set bits of a uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@intrinsic
def trailing_zeros(typing_context: Any, word: Any) -> Any:
    """Position of the lowest set bit of a uint64; 64 for 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@intrinsic
def add_eight_words(typing_context: Any, rows: Any, planes: Any, carry: Any, place: Any) -> Any:
    """Add eight bitmaps to counters, for the eight words from ``place`` on; see :func:`bsa_st.index.counter_kernel.add_eight`.

    Written in vectors because LLVM does not vectorise loops over so many arrays that might overlap.

    Args:
        typing_context: Of numba.
        rows: Address of the eight bitmaps' addresses, int64 (8,).
        planes: Addresses of the three planes, a tuple.
        carry: Address of the carry, which is written.
        place: First word.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        vector = ir.VectorType(word, LANES)
        table = builder.inttoptr(arguments[0], word.as_pointer())
        place = arguments[3]

        def pointer(address: Any) -> Any:
            return builder.bitcast(builder.gep(builder.inttoptr(address, word.as_pointer()), [place]), vector.as_pointer())

        def bitmap(number: int) -> Any:
            address = builder.load(builder.gep(table, [ir.Constant(word, number)]))
            return builder.load(pointer(address), align=8)

        def full_adder(a: Any, b: Any, c: Any) -> tuple[Any, Any]:
            half = builder.xor(a, b)
            return builder.xor(half, c), builder.or_(builder.and_(a, b), builder.and_(half, c))

        targets = [pointer(builder.extract_value(arguments[1], number)) for number in range(3)]
        ones, twos, fours = (builder.load(target, align=8) for target in targets)
        pairs = []
        for number in range(0, 8, 2):
            ones, carried = full_adder(ones, bitmap(number), bitmap(number + 1))
            pairs.append(carried)
        twos, first = full_adder(twos, pairs[0], pairs[1])
        twos, second = full_adder(twos, pairs[2], pairs[3])
        fours, eights = full_adder(fours, first, second)
        for value, target in zip((ones, twos, fours), targets, strict=True):
            builder.store(value, target, align=8)
        builder.store(eights, pointer(arguments[2]), align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.UniTuple(types.int64, 3), types.int64, types.int64), generate


@intrinsic
def compare_eight_words(typing_context: Any, plane: Any, equal: Any, above: Any, is_set: Any, place: Any) -> Any:
    """One step of a bit-sliced comparison with a constant, from the highest bit down, for the eight words from ``place`` on.

    Args:
        typing_context: Of numba.
        plane: Address of the counters' bits.
        equal: Address of the mask of counters that equal the constant so far; updated.
        above: Address of the mask of counters that are above it; updated.
        is_set: Whether the constant has this bit.
        place: First word.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        vector = ir.VectorType(word, LANES)
        places = [
            builder.bitcast(builder.gep(builder.inttoptr(address, word.as_pointer()), [arguments[4]]), vector.as_pointer())
            for address in arguments[:3]
        ]
        plane, equal, above = (builder.load(place, align=8) for place in places)
        both = builder.and_(plane, equal)
        ones = ir.Constant(vector, [-1] * LANES)
        neither = builder.and_(equal, builder.xor(plane, ones))
        set_bit = builder.icmp_signed("!=", arguments[3], ir.Constant(word, 0))
        builder.store(builder.select(set_bit, both, neither), places[1], align=8)
        builder.store(builder.select(set_bit, above, builder.or_(above, both)), places[2], align=8)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


@intrinsic
def prefetch(typing_context: Any, address: Any) -> Any:
    """Ask for the cache line at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = builder.module.globals.get("llvm.prefetch.p0i8") or ir.Function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [builder.inttoptr(arguments[0], byte), *(ir.Constant(number, value) for value in (0, 2, 1))])
        return context.get_dummy_value()

    return types.void(types.int64), generate
