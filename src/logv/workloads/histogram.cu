// Counts how often each byte value occurs. Each block counts its own CHUNK bytes in shared memory, so
// that a common value is contended for inside a block only, and adds its counts to the result once.

#define BINS 256
#define CHUNK 32768

extern "C" __global__ void histogram(int n, const unsigned char *data, unsigned int *counts)
{
    __shared__ unsigned int bins[BINS];

    bins[threadIdx.x] = 0;
    __syncthreads();

    int start = blockIdx.x * CHUNK;
    int end = min(start + CHUNK, n);
    for (int i = start + threadIdx.x; i < end; i += BINS)
        atomicAdd(&bins[data[i]], 1u);
    __syncthreads();

    atomicAdd(&counts[threadIdx.x], bins[threadIdx.x]);
}
