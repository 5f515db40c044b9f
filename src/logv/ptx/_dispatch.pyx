"""Decides which region of a kernel runs next, once the threads of a block have parted.

Compiled kernels call in here. Each thread notes its next region in a code; threads that wait for others
note that as well (``WAITS``), after they have published words. When the threads that one of them waits
for are all there, their results are worked out and they may go on. ``_schedule.py`` writes the table.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset

from llvmlite import binding

cdef extern from *:
    int __builtin_ctz(uint32_t) nogil
    int __builtin_ctzll(uint64_t) nogil
    int __builtin_popcount(uint32_t) nogil

cdef enum:
    LANES = 32
    BARRIERS = 16
    # Codes of threads: the number of a region, with WAITS if the thread waits for others before it.
    WAITS = 0x8000
    EXITED = 0xFFFF
    # In the table: not a constant, or nothing there.
    NONE = 0xFFFFFFFF
    # Results of next_region.
    DONE = -1
    TRAP = -2

# WARP_OPERATIONS and BLOCK_OPERATIONS of _meeting.py.
cdef enum:
    SYNC
    ACTIVE_MASK
    ELECT
    SHUFFLE
    VOTE_ALL
    VOTE_ANY
    VOTE_UNI
    VOTE_BALLOT
    MATCH_ANY_32
    MATCH_ANY_64
    MATCH_ALL_32
    MATCH_ALL_64
    REDUCE_ADD
    REDUCE_UMIN
    REDUCE_SMIN
    REDUCE_UMAX
    REDUCE_SMAX
    REDUCE_AND
    REDUCE_OR
    REDUCE_XOR
    BARRIER
    COUNT
    ARRIVE

cdef struct Region:
    uint32_t operation      # NONE if threads do not wait before the region
    uint32_t group          # lanes meet those that wait in the same group
    uint32_t mask           # of a warp operation, 0 if published; else the barrier's number, or NONE
    uint32_t threads        # that a barrier waits for, 0 for all, NONE if published
    uint32_t lanes          # place in the table of what each lane reads, NONE if published
    uint32_t area           # place in the table of regions where nobody may wait now, or NONE

cdef struct Schedule:
    uint32_t threads        # of a block
    uint32_t count          # of regions
    uint32_t width          # of a set of regions and one bit more, in 64-bit words
    uint32_t warp_regions   # place in the table of the set of regions that begin after a warp operation
    # Offsets in scratch memory.
    uint32_t state
    uint32_t codes
    uint32_t values
    uint32_t others
    uint32_t masks
    uint32_t results

cdef struct State:
    uint32_t counts[BARRIERS]    # of bar.red, when the barrier opened last
    uint32_t arrived[BARRIERS]   # threads that bar.arrive has counted
    uint32_t compared            # no thread has moved since the lanes of warps were compared
    uint32_t gone                # threads have left
    # Followed by the sets of regions that threads are ready for, and that they wait before.


cdef inline const Region *region_at(const Schedule *plan, uint32_t index) noexcept nogil:
    return <const Region *>(plan + 1) + index


cdef inline const uint64_t *set_at(const Schedule *plan, uint32_t place) noexcept nogil:
    return <const uint64_t *>(<const uint32_t *>plan + place)


cdef inline State *state_of(const Schedule *plan, uint8_t *scratch) noexcept nogil:
    return <State *>(scratch + plan.state)


cdef inline uint64_t *ready_of(const Schedule *plan, uint8_t *scratch) noexcept nogil:
    return <uint64_t *>(state_of(plan, scratch) + 1)


cdef inline uint64_t *waiting_of(const Schedule *plan, uint8_t *scratch) noexcept nogil:
    return ready_of(plan, scratch) + plan.width


cdef inline uint16_t *codes_of(const Schedule *plan, uint8_t *scratch) noexcept nogil:
    return <uint16_t *>(scratch + plan.codes)


cdef inline void insert(uint64_t *regions, uint32_t region) noexcept nogil:
    regions[region >> 6] |= <uint64_t>1 << (region & 63)


cdef inline uint32_t lowest(const Schedule *plan, const uint64_t *regions, const uint64_t *among) noexcept nogil:
    """The lowest region in a set, and in another if there is one; the count of regions if there is none."""
    cdef uint32_t word
    cdef uint64_t bits
    for word in range(plan.width):
        bits = regions[word] if among == NULL else regions[word] & among[word]
        if bits:
            return 64 * word + __builtin_ctzll(bits)
    return plan.count


cdef inline uint32_t lanes_of_warp(const Schedule *plan, uint32_t warp) noexcept nogil:
    """Mask of the lanes that the block has."""
    cdef uint32_t rest = plan.threads - LANES * warp
    return <uint32_t>0xFFFFFFFF if rest >= LANES else ((<uint32_t>1 << rest) - 1)


# -- what lanes work out together ---------------------------------------------------------------------

cdef inline uint32_t reduced(uint32_t operation, uint32_t a, uint32_t b) noexcept nogil:
    if operation == REDUCE_ADD:
        return a + b
    if operation == REDUCE_UMIN:
        return min(a, b)
    if operation == REDUCE_SMIN:
        return <uint32_t>min(<int32_t>a, <int32_t>b)
    if operation == REDUCE_UMAX:
        return max(a, b)
    if operation == REDUCE_SMAX:
        return <uint32_t>max(<int32_t>a, <int32_t>b)
    if operation == REDUCE_AND:
        return a & b
    if operation == REDUCE_OR:
        return a | b
    return a ^ b


cdef uint32_t equal_lanes(uint32_t operation, const uint32_t *values, const uint32_t *others, uint32_t members,
                          uint32_t lane) noexcept nogil:
    """Mask of the members that have published the same as a lane."""
    cdef uint32_t found = 0, other
    cdef bint wide = operation == MATCH_ANY_64 or operation == MATCH_ALL_64
    for other in range(LANES):
        if values[other] == values[lane] and (not wide or others[other] == others[lane]):
            found |= <uint32_t>1 << other
    return found & members


cdef void exchange(const Schedule *plan, uint8_t *scratch, uint32_t warp, uint32_t members,
                   const uint16_t *codes, uint32_t region) noexcept nogil:
    """Work out the results of lanes that are all there.

    SAFETY: the words have room for whole warps; lanes are below 32. `codes` names each lane's region;
    without it, all are before `region`.
    """
    cdef const uint32_t *values = <const uint32_t *>(scratch + plan.values) + LANES * warp
    cdef const uint32_t *others = <const uint32_t *>(scratch + plan.others) + LANES * warp
    cdef uint32_t *results = <uint32_t *>(scratch + plan.results) + LANES * warp
    cdef uint32_t operation = region_at(plan, region).operation
    cdef uint32_t first = __builtin_ctz(members), lane, source, place, bits = 0, result = 0
    if operation == SYNC:
        return
    if operation == SHUFFLE:
        for lane in range(LANES):
            if members >> lane & 1:
                if codes != NULL:
                    region = codes[lane] & ~WAITS
                place = region_at(plan, region).lanes
                source = (others[lane] if place == NONE else (<const uint32_t *>plan)[place + lane]) & (LANES - 1)
                results[lane] = values[source if members >> source & 1 else lane]
        return
    if operation == MATCH_ANY_32 or operation == MATCH_ANY_64:
        for lane in range(LANES):
            if members >> lane & 1:
                results[lane] = equal_lanes(operation, values, others, members, lane)
        return
    if VOTE_ALL <= operation <= VOTE_BALLOT:
        for lane in range(LANES):
            bits |= <uint32_t>(values[lane] != 0) << lane
        bits &= members
        if operation == VOTE_ALL:
            result = bits == members
        elif operation == VOTE_ANY:
            result = bits != 0
        elif operation == VOTE_UNI:
            result = bits == 0 or bits == members
        else:
            result = bits
    elif operation == ACTIVE_MASK:
        result = members
    elif operation == ELECT:
        result = first
    elif operation == MATCH_ALL_32 or operation == MATCH_ALL_64:
        result = members if equal_lanes(operation, values, others, members, first) == members else 0
    else:
        result = values[first]
        for lane in range(first + 1, LANES):
            if members >> lane & 1:
                result = reduced(operation, result, values[lane])
    for lane in range(LANES):
        if members >> lane & 1:
            results[lane] = result


cdef inline uint32_t named(const Schedule *plan, uint8_t *scratch, uint32_t warp, uint32_t lane,
                           const Region *region) noexcept nogil:
    """Mask of the lanes that a lane waits for, itself among them."""
    cdef uint32_t mask = region.mask
    if mask == 0:
        mask = (<const uint32_t *>(scratch + plan.masks))[LANES * warp + lane]
    return mask | <uint32_t>1 << lane


# -- threads that have parted -------------------------------------------------------------------------

cdef void let_go(const Schedule *plan, uint8_t *scratch, uint16_t *codes, uint32_t members) noexcept nogil:
    """Let lanes run the regions that they waited before."""
    cdef uint32_t lane
    cdef uint32_t last = NONE
    while members:
        lane = __builtin_ctz(members)
        members &= members - 1
        codes[lane] &= ~WAITS
        if codes[lane] != last:
            last = codes[lane]
            insert(ready_of(plan, scratch), last)


cdef inline bint alike(const uint16_t *codes) noexcept nogil:
    """Whether all lanes of a warp have the same code."""
    cdef const uint64_t *words = <const uint64_t *>codes
    cdef uint64_t differences = words[0] ^ codes[0] * <uint64_t>0x0001000100010001
    cdef uint32_t word
    for word in range(1, LANES // 4):
        differences |= words[word] ^ words[0]
    return differences == 0


cdef void meet_in_warp(const Schedule *plan, uint8_t *scratch, uint32_t warp, uint32_t limit) noexcept nogil:
    cdef uint16_t *codes = codes_of(plan, scratch) + LANES * warp
    cdef uint32_t exists = lanes_of_warp(plan, warp), waits = 0, live = 0
    cdef uint32_t lane, other, members, needed, code
    cdef const Region *region
    if alike(codes):
        # Most warps have no part in what others do: they run, have left, or wait for the block.
        if codes[0] == EXITED or not codes[0] & WAITS:
            return
        if region_at(plan, codes[0] & ~WAITS).operation >= BARRIER:
            insert(waiting_of(plan, scratch), codes[0] & ~WAITS)
            return
    for lane in range(LANES):
        code = codes[lane]
        live |= <uint32_t>(code != EXITED) << lane
        waits |= (code >> 15) << lane
    live &= exists
    waits &= live
    while waits:
        lane = __builtin_ctz(waits)
        code = codes[lane] & ~WAITS
        region = region_at(plan, code)
        if region.operation >= BARRIER:
            insert(waiting_of(plan, scratch), code)
            for other in range(lane, LANES):
                if codes[other] == codes[lane]:
                    waits &= ~(<uint32_t>1 << other)
            continue
        members = 0
        for other in range(lane, LANES):
            if waits >> other & 1 and region_at(plan, codes[other] & ~WAITS).group == region.group:
                members |= <uint32_t>1 << other
        needed = members if region.operation == ACTIVE_MASK else named(plan, scratch, warp, lane, region) & live
        if needed & ~members or (region.operation == ACTIVE_MASK and code > limit):
            # Some are not there yet. Others may wait for fewer.
            insert(waiting_of(plan, scratch), code)
            waits &= waits - 1
            continue
        exchange(plan, scratch, warp, needed, codes, code)
        let_go(plan, scratch, codes, needed)
        waits &= ~needed


cdef void meet_in_warps(const Schedule *plan, uint8_t *scratch, uint32_t limit) noexcept nogil:
    """Let lanes go on whose partners are all there.

    Threads that could still join an ``activemask`` are in regions below `limit`.
    """
    cdef uint32_t warp
    memset(waiting_of(plan, scratch), 0, 8 * plan.width)
    for warp in range((plan.threads + LANES - 1) // LANES):
        meet_in_warp(plan, scratch, warp, limit)


cdef inline uint32_t barrier_of(const Schedule *plan, uint8_t *scratch, uint32_t thread,
                                const Region *region) noexcept nogil:
    if region.mask != NONE:
        return region.mask
    return (<const uint32_t *>(scratch + plan.masks))[thread] & (BARRIERS - 1)


cdef bint open_barriers(const Schedule *plan, uint8_t *scratch) noexcept nogil:
    """Open the barriers that enough threads wait at; False if nobody can go on.

    Lanes of a warp that have left, or that the block lacks, count where others of the warp arrive.
    """
    cdef State *state = state_of(plan, scratch)
    cdef uint16_t *codes = codes_of(plan, scratch)
    cdef const uint32_t *values = <const uint32_t *>(scratch + plan.values)
    cdef const uint32_t *others = <const uint32_t *>(scratch + plan.others)
    cdef uint32_t waiters[BARRIERS]
    cdef uint32_t absent[BARRIERS]
    cdef uint32_t expected[BARRIERS]
    cdef uint32_t totals[BARRIERS]
    cdef uint32_t live = 0, opened = 0, lost, waited, arrived, thread, number, threads, warp
    cdef const Region *region
    cdef bint moved = False
    memset(waiters, 0, sizeof(waiters))
    memset(absent, 0, sizeof(absent))
    memset(expected, 0, sizeof(expected))
    memset(totals, 0, sizeof(totals))
    for warp in range((plan.threads + LANES - 1) // LANES):
        lost = LANES - min(<uint32_t>LANES, plan.threads - LANES * warp)
        waited = arrived = 0
        for thread in range(LANES * warp, min(plan.threads, LANES * warp + LANES)):
            if codes[thread] == EXITED:
                lost += 1
                continue
            live += 1
            region = region_at(plan, codes[thread] & ~WAITS)
            if region.operation < BARRIER:
                continue
            number = barrier_of(plan, scratch, thread, region)
            threads = others[thread] if region.threads == NONE else region.threads
            expected[number] = threads
            if region.operation == ARRIVE:
                state.arrived[number] += 1
                arrived |= <uint32_t>1 << number
                codes[thread] &= ~WAITS
                insert(ready_of(plan, scratch), codes[thread])
                moved = True
                continue
            waited |= <uint32_t>1 << number
            waiters[number] += 1
            if region.operation == COUNT:
                totals[number] += values[thread]
        for number in range(BARRIERS):
            if waited >> number & 1:
                absent[number] += lost
            elif arrived >> number & 1:
                state.arrived[number] += lost
    for number in range(BARRIERS):
        if expected[number] == 0:
            if waiters[number] == 0 or waiters[number] != live:
                continue
        elif waiters[number] + absent[number] + state.arrived[number] < expected[number]:
            continue
        opened |= <uint32_t>1 << number
        state.arrived[number] = 0
        state.counts[number] = totals[number]
        moved = True
    if not moved:
        return False
    memset(waiting_of(plan, scratch), 0, 8 * plan.width)
    for thread in range(plan.threads):
        if not codes[thread] & WAITS or codes[thread] == EXITED:
            continue
        region = region_at(plan, codes[thread] & ~WAITS)
        if region.operation >= BARRIER and opened >> barrier_of(plan, scratch, thread, region) & 1:
            codes[thread] &= ~WAITS
            insert(ready_of(plan, scratch), codes[thread])
        else:
            insert(waiting_of(plan, scratch), codes[thread] & ~WAITS)
    return True


cdef int32_t next_region(const Schedule *plan, uint8_t *scratch) noexcept nogil:
    """Choose the region that runs next: twice its number, and 1 more if the whole block is there.

    DONE if all threads have left, TRAP if some wait for ever.
    """
    cdef State *state = state_of(plan, scratch)
    cdef uint64_t *ready = ready_of(plan, scratch)
    cdef uint64_t *waiting = waiting_of(plan, scratch)
    cdef const uint64_t *area
    cdef uint64_t others
    cdef uint32_t first, word
    cdef const Region *region
    # The bit behind the regions says that threads have left.
    others = <uint64_t>1 << (plan.count & 63)
    if waiting[plan.count >> 6] & others:
        waiting[plan.count >> 6] &= ~others
        state.gone = 1
    while True:
        first = lowest(plan, ready, NULL)
        if not state.compared and lowest(plan, waiting, set_at(plan, plan.warp_regions)) < first:
            # Those behind go first, so that the threads of a loop stay together.
            state.compared = 1
            meet_in_warps(plan, scratch, first)
        elif first < plan.count:
            break
        elif lowest(plan, waiting, NULL) == plan.count:
            return DONE
        elif not open_barriers(plan, scratch):
            return TRAP
    ready[first >> 6] &= ready[first >> 6] - 1
    region = region_at(plan, first)
    if region.area != NONE:
        # Whoever waits there would find the block's counters changed.
        area = set_at(plan, region.area)
        for word in range(plan.width):
            if area[word] & waiting[word]:
                return TRAP
    others = state.gone
    for word in range(plan.width):
        others |= ready[word] | waiting[word]
    state.compared = 0
    return 2 * <int32_t>first + (others == 0)


cdef void meet_block(const Schedule *plan, uint8_t *scratch, uint32_t index) noexcept nogil:
    """Work out the results of all threads of a block, which are before one region."""
    cdef const Region *region = region_at(plan, index)
    cdef const uint32_t *values = <const uint32_t *>(scratch + plan.values)
    cdef uint32_t warp, rest, exists, members, thread, total = 0
    if region.operation == COUNT:
        for thread in range(plan.threads):
            total += values[thread]
        state_of(plan, scratch).counts[region.mask] = total
        return
    for warp in range((plan.threads + LANES - 1) // LANES):
        rest = exists = lanes_of_warp(plan, warp)
        while rest:
            members = exists
            if region.operation != ACTIVE_MASK:
                members &= named(plan, scratch, warp, __builtin_ctz(rest), region)
            exchange(plan, scratch, warp, members, NULL, index)
            rest &= ~members


binding.add_symbol("logv_next_region", <uintptr_t>&next_region)
binding.add_symbol("logv_meet_block", <uintptr_t>&meet_block)
