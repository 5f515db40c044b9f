// Fills a buffer with numbers that depend on the position and on a seed, so that two buffers that
// share a page, or a buffer that kept older contents, show.

extern "C" __global__ void fill(int n, unsigned int seed, unsigned int *out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = (unsigned int)i * 2654435761u ^ seed;
}
