// Pointers of which the text does not say what memory they point into.

struct Node {
    int value;
    Node *next;
};

// One of three memories, chosen by the launch and by each thread.
extern "C" __global__ void choose(float *out, const float *in, int how)
{
    __shared__ float shared[64];
    float local[8];
    int i = threadIdx.x;
    shared[i] = in[i] + 100;
    for (int k = 0; k < 8; k++)
        local[k] = in[i] + 1000 * k;
    __syncthreads();
    const float *p = how == 0 ? shared : how == 1 ? local : how == 2 ? in : i % 3 == 0 ? shared : i % 3 == 1 ? local : in;
    out[i] = p[(i * how) & 7];
}

// Pointers go through shared and local memory and come back.
extern "C" __global__ void stored(float *out, float *in)
{
    __shared__ float shared[64];
    __shared__ float *table[4];
    float local[8];
    float *own[3];
    int i = threadIdx.x;
    shared[i] = in[i] + 100;
    for (int k = 0; k < 8; k++)
        local[k] = in[i] + 1000 * k;
    if (i == 0) {
        table[0] = shared;
        table[1] = in;
        table[2] = shared + 8;
        table[3] = in + 8;
    }
    __syncthreads();
    own[0] = table[i & 3];
    own[1] = local;
    own[2] = shared + (i & 31);
    float *p = own[i % 3];
    out[i] = p[i & 7];
    __syncthreads();
    own[(i + 1) % 3][0] = -i;
    out[64 + i] = local[0];
}

// A list whose nodes lie in shared and in global memory.
extern "C" __global__ void list(int *out, Node *rest)
{
    __shared__ Node first[8];
    int i = threadIdx.x;
    if (i < 8) {
        first[i].value = 100 + i;
        first[i].next = i < 7 ? &first[i + 1] : rest;
    }
    __syncthreads();
    int sum = 0, steps = 0;
    for (Node *node = first + (i & 7); node; node = node->next) {
        sum += node->value;
        steps++;
    }
    out[i] = sum * 1000 + steps;
}

// Links the list's global part: addresses are known on the device only.
extern "C" __global__ void link(Node *rest, int count)
{
    for (int k = 0; k < count; k++) {
        rest[k].value = k;
        rest[k].next = k + 1 < count ? rest + k + 1 : nullptr;
    }
}

// Atomics through such pointers.
extern "C" __global__ void count(int *out, int *bins, float *sums)
{
    __shared__ int shared[8];
    __shared__ float shared_sums[4];
    int i = threadIdx.x, k = i >> 1 & 3;
    if (i < 8) {
        shared[i] = 0;
        shared_sums[i & 3] = 0;
    }
    __syncthreads();
    int *bin = i & 1 ? shared : bins;
    float *sum = i & 1 ? sums : shared_sums;
    atomicAdd(&bin[k], 1);
    atomicMax(&bin[4 + k], i);
    atomicAdd(&sum[k], 0.5f);
    __syncthreads();
    atomicCAS(&bin[k], 8, 100 + i % 2);
    __syncthreads();
    if (i < 8)
        out[i] = shared[i];
    if (i < 4)
        sums[4 + i] = shared_sums[i];
}

// What the pointers themselves tell.
extern "C" __global__ void inquire(int *out, int *in)
{
    __shared__ int shared[2];
    int local[2];
    const void *pointers[3] = {in, shared + 1, local + 1};
    int i = threadIdx.x;
    local[i & 1] = i;
    const void *p = pointers[i % 3];
    out[i] = __isGlobal(p) + 2 * __isShared(p) + 4 * __isLocal(p) + 8 * __isConstant(p);
    out[64 + i] = (int)__cvta_generic_to_shared(shared + 1) + local[i & 1];
}

struct Table {
    double numbers[6];
    int count;
};

// A structure passed by value, reached by pointer.
extern "C" __global__ void by_value(const __grid_constant__ Table table, const double *other, double *out)
{
    int i = threadIdx.x;
    const double *p = i & 1 ? table.numbers : other;
    out[i] = p[i % table.count];
}
