"""`headrace dev`: the whole system on one machine, as one supervised process tree.

datadir     what lies on disk, and the lock that keeps a second dev out
children    one process each: started, waited for, signalled
supervisor  keeps children alive, and ends them in order
stack       which children there are, when they are ready, how they are drained
demo        the demo workflow, through the HTTP API as any client would
"""
