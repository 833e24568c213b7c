"""`headrace node certify`: a node is killed at every boundary of its steps and at random places, and must give the same.

subject   what is certified: a file, a manifest or an image, and its sample
moments   when processes are killed: a plan made of what an unharmed run did (pure)
trial     one run: what its processes said, and which of them is to die now
gate      around the API: sees the node protocol, and carries out the plan
lives     the executor: one process after another of the same attempt
programs  how a process is started, killed, held; containers: the same of a container
engine    the embedded server, the API and a worker in this process, for as long as it takes
outcome   what came of a run, and how two of them differ
verdict   all of it in order, and what it says of the node
view      the table
"""
