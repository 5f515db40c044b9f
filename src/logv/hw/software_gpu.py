"""Figures of the software GPU that a manual would call "implementation defined"."""

# Kernels reach addresses below 2**APERTURE_VA_BITS: the part of the 49-bit address space that the GPU
# mirrors into host address space. Engines that walk the page tables reach all 49 bits.
APERTURE_VA_BITS = 37
# Unmapped bytes on each side of an aperture (and of the shared-memory arena). Compiled kernels mask the
# uniform part of an address and may add an offset that is provably smaller than this.
APERTURE_GUARD_BITS = 35
# The shared-memory arena: offsets are masked to this many bits.
SHARED_ARENA_BITS = 18

COMPUTE_CAPABILITY = 80
WARP_SIZE = 32
MAX_THREADS_PER_BLOCK = 1024
MAX_BLOCK_DIM_X = 1024
MAX_BLOCK_DIM_Y = 1024
MAX_BLOCK_DIM_Z = 64
MAX_GRID_DIM_X = 2**31 - 1
MAX_GRID_DIM_Y = 65535
MAX_GRID_DIM_Z = 65535
MAX_SHARED_MEMORY_PER_BLOCK = 166912  # 163 KiB, compute capability 8.0
MAX_PARAMETER_BYTES = 4096
# Bounds what one block of one kernel can claim of the host's memory for spills and local memory.
MAX_SCRATCH_BYTES = 64 * 2**20
# Bounds how much text the GPU reads at a program address before it gives up looking for the NUL.
MAX_PROGRAM_BYTES = 4 * 2**20
# Different compiled kernels that one address space can keep alive: bounds the host memory they take.
MAX_PROGRAMS_PER_VSPACE = 4096

# Host threads that run the blocks of one launch; each reserves the arenas of one, 2 * 2**APERTURE_GUARD_BITS
# bytes of address space and more.
MAX_COMPUTE_THREADS = 64

MAX_CHANNELS = 4096
MAX_VSPACES = 512
CHANNELS_PER_CLIENT = 128
VSPACES_PER_CLIENT = 32
MIN_GPFIFO_ENTRIES = 2
MAX_GPFIFO_ENTRIES = 65536
# Host mappings (not pages) that all apertures together may use. Each splits the reservation around it, so
# it counts twice against the kernel's limit, 65,530 by default, of which the rest of the process needs some.
MAX_APERTURE_EXTENTS = 24576
