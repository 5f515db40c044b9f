"""Two other ways to share a GPU, to compare LoGV with: trapping submissions, and remoting the API.

Both share everything with LoGV that they can: workloads, runtime, drivers, GPU. `trap` goes through the
hypervisor at each submission; `remote` sends each call of the runtime to a server.
"""
