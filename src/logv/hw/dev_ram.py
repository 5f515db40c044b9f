"""USERD, the page of a channel that its application maps. Source: NVIDIA manual dev_ram.ref.txt, chapter USERD.

The error notifier and the doorbell page are LoGV's own: the manual leaves both to the driver.
"""

NV_RAMUSERD_BASE__SIZE = 512
NV_RAMUSERD_PUT = 0x40
NV_RAMUSERD_GET = 0x44
NV_RAMUSERD_REF = 0x48
NV_RAMUSERD_GP_GET = 0x88
NV_RAMUSERD_GP_PUT = 0x8C

# One 4 KiB page per channel, so that one can be mapped alone.
USERD_PAGE_SIZE = 4096

# Error notifier, in the upper half of the channel's page; written by the GPU, read by the application.
NOTIFIER_OFFSET = 0x800
NOTIFIER_STATUS = 0x800  # u32, last written: a logv.uapi.Fault, 0 while the channel is well
NOTIFIER_ACCESS = 0x804  # u32: 0 none, 1 read, 2 write
NOTIFIER_ADDRESS = 0x808  # u64: GPU virtual address, or method for method errors
NOTIFIER_PROGRAM = 0x810  # u64: GPU virtual address of the program, 0 outside kernels
NOTIFIER_TIMESTAMP = 0x818  # u64: nanoseconds
NOTIFIER_KERNEL = 0x820  # NUL-terminated name of the kernel
NOTIFIER_KERNEL__SIZE = 224
NOTIFIER_MESSAGE = 0x900  # NUL-terminated text: the compiler's message, for a program that was refused
NOTIFIER_MESSAGE__SIZE = 512

# Doorbell page, page 0 of a client's BAR3. Each word has a cache line of its own.
DOORBELL_SLEEPING = 0x000  # u32, engine writes: 1 while it sleeps and wants the doorbell's eventfd written
DOORBELL_IRQ_SEQUENCE = 0x040  # u32, engine increments at each interrupt; waiters futex-wait on it
DOORBELL_IRQ_WAITERS = 0x080  # u32, waiters count themselves in here
