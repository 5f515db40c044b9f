// C = A * B for square row-major matrices whose side is a multiple of TILE: each block computes one
// tile of C, and walks along a row of tiles of A and a column of tiles of B in shared memory.

#define TILE 32

extern "C" __global__ void matmul(int side, const float *a, const float *b, float *c)
{
    __shared__ float tile_a[TILE][TILE];
    __shared__ float tile_b[TILE][TILE];

    int column = blockIdx.x * TILE + threadIdx.x;
    int row = blockIdx.y * TILE + threadIdx.y;
    float sum = 0.0f;

    for (int start = 0; start < side; start += TILE) {
        tile_a[threadIdx.y][threadIdx.x] = a[row * side + start + threadIdx.x];
        tile_b[threadIdx.y][threadIdx.x] = b[(start + threadIdx.y) * side + column];
        __syncthreads();
#pragma unroll
        for (int k = 0; k < TILE; ++k)
            sum += tile_a[threadIdx.y][k] * tile_b[k][threadIdx.x];
        __syncthreads();
    }
    c[row * side + column] = sum;
}
