// The sandbox container of every pod: it holds the pod's namespaces and does nothing.
module headrace/tests/cluster/pause

go 1.26.0
