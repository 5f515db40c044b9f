// Arithmetic of a chosen length, in a chain that no compiler can shorten: `rounds` steps of a linear
// congruential generator (Numerical Recipes' constants) on each thread's number.

extern "C" __global__ void churn(int rounds, unsigned *numbers)
{
    unsigned number = numbers[threadIdx.x];
#pragma unroll 1
    for (int i = 0; i < rounds; ++i)
        number = number * 1664525u + 1013904223u;
    numbers[threadIdx.x] = number;
}
