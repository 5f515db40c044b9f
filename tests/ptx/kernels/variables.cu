// Variables of the module: written, initialised, pointing at each other, and constant.
__device__ int counter;
__device__ float table[4] = {1.5f, 2.5f, 3.5f, 4.5f};
__device__ float *where = table + 1;
__device__ unsigned int histogram[16];
__constant__ float weights[32];
__constant__ int fixed[3] = {7, 8, 9};

struct Node {
    int value;
    const Node *next;
};
__device__ Node last = {30, 0};
__device__ Node middle = {20, &last};
__constant__ Node first = {10, &middle};

extern "C" __device__ __noinline__ void count(int *what, int amount) { atomicAdd(what, amount); }

extern "C" __global__ void use(int n, const float *in, float *out) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        count(&counter, i & 3);
        atomicAdd(&histogram[i & 15], 1u);
        out[i] = in[i] * weights[i & 31] + table[i & 3] + fixed[i % 3] + *where;
    }
}

extern "C" __global__ void walk(int *out) {
    int sum = 0;
    for (const Node *node = &first; node; node = node->next) {
        sum = 10 * sum + node->value;
    }
    *out = sum;
}

extern "C" __global__ void turn() {
    where = where == &table[3] ? table : where + 1;
    middle.value = counter;
    table[0] += 1;
}

// Uses none of them, but a table of the compiler's.
extern "C" __global__ void sines(int n, float *data) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        data[i] = sinf(data[i]);
    }
}

__shared__ int kept[32];
extern __shared__ int dynamic[];
extern "C" __device__ __noinline__ int other(int i) { return kept[31 - i] + dynamic[31 - i]; }
extern "C" __global__ void shared_by_functions(int *out) {
    int i = threadIdx.x;
    kept[i] = i;
    dynamic[i] = 100 * i;
    __syncthreads();
    out[i] = other(i);
}
