"""The command line of every component, and the files they read. Pure but for the files."""

from __future__ import annotations

import json

from tests.cluster import simulated
from tests.cluster.build import Binaries
from tests.cluster.layout import DNS_ADDRESS, DOMAIN, HOST, NODE, POD_NETWORK, SERVICE_NETWORK, Layout

MACHINE = "headrace.dev/machine"
"""Label and taint of a further node; its value is the name of the node."""
PAUSE_IMAGE = "localhost/pause:1"
LOOPBACK = "127.0.0.1"
QUERIES = ("--kube-api-qps=300", "--kube-api-burst=600")
"""Of the controllers and the scheduler: the default of 20 a second would be what a test of many Jobs measures."""


def etcd(layout: Layout, binaries: Binaries) -> list[str]:
    client = f"http://{LOOPBACK}:{layout.ports['etcd']}"
    peer = f"http://{LOOPBACK}:{layout.ports['etcd-peer']}"
    return [
        binaries["etcd"],
        f"--data-dir={layout.root / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver(layout: Layout, binaries: Binaries) -> list[str]:
    """On every address, since pods reach it through their gateway, a loopback address of this machine."""
    return [
        binaries["kube-apiserver"],
        f"--etcd-servers=http://{LOOPBACK}:{layout.ports['etcd']}",
        "--bind-address=0.0.0.0",
        f"--advertise-address={HOST}",
        f"--secure-port={layout.ports['apiserver']}",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        f"--client-ca-file={layout.pki('ca.crt')}",
        f"--tls-cert-file={layout.pki('apiserver.crt')}",
        f"--tls-private-key-file={layout.pki('apiserver.key')}",
        f"--cert-dir={layout.root / 'run'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={layout.pki('accounts.pub')}",
        f"--service-account-signing-key-file={layout.pki('accounts.key')}",
        f"--kubelet-certificate-authority={layout.pki('ca.crt')}",
        f"--kubelet-client-certificate={layout.pki('apiserver-kubelet.crt')}",
        f"--kubelet-client-key={layout.pki('apiserver-kubelet.key')}",
        "--kubelet-preferred-address-types=Hostname",
        "--allow-privileged=true",
        "--profiling=false",
    ]


def controllers(layout: Layout, binaries: Binaries) -> list[str]:
    config = layout.root / "kubeconfig" / "controllers"
    return [
        binaries["kube-controller-manager"],
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={layout.ports['controllers']}",
        f"--cert-dir={layout.root / 'run'}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--root-ca-file={layout.pki('ca.crt')}",
        f"--service-account-private-key-file={layout.pki('accounts.key')}",
        f"--cluster-signing-cert-file={layout.pki('ca.crt')}",
        f"--cluster-signing-key-file={layout.pki('ca.key')}",
        "--concurrent-job-syncs=20",
        "--node-monitor-grace-period=20s",
        *QUERIES,
    ]


def scheduler(layout: Layout, binaries: Binaries) -> list[str]:
    config = layout.root / "kubeconfig" / "scheduler"
    return [
        binaries["kube-scheduler"],
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={layout.ports['scheduler']}",
        f"--cert-dir={layout.root / 'run'}",
        "--leader-elect=false",
        *QUERIES,
    ]


def proxy(layout: Layout, binaries: Binaries) -> list[str]:
    layout.config("proxy.json").write_text(
        json.dumps(
            {
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                "kind": "KubeProxyConfiguration",
                "clientConnection": {"kubeconfig": str(layout.root / "kubeconfig" / "proxy")},
                "mode": "nftables",
                "clusterCIDR": POD_NETWORK,
                "bindAddress": LOOPBACK,
                "healthzBindAddress": f"{LOOPBACK}:{layout.ports['proxy']}",
                "metricsBindAddress": f"{LOOPBACK}:{layout.ports['proxy-metrics']}",
                "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            }
        )
    )
    return [binaries["kube-proxy"], f"--config={layout.config('proxy.json')}", f"--hostname-override={NODE}"]


def proxy_cleanup(binaries: Binaries) -> list[str]:
    """Takes every rule of kube-proxy's away."""
    return [binaries["kube-proxy"], "--cleanup"]


def containerd(layout: Layout, binaries: Binaries) -> list[str]:
    """`restrict_oom_score_adj`: without CAP_SYS_RESOURCE runc may not lower a score. State lies below ours, so that
    unmounting what is there ends every pod's network namespace too. The socket of NRI would be one for the whole machine."""
    layout.config("containerd.toml").write_text(
        f"""version = 3
root = "{layout.root / "containerd"}"
state = "{layout.root / "run" / "containerd"}"

[grpc]
address = "{layout.containerd}"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.nri.v1.nri"]
disable = true

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "{layout.root / "cni"}"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""
    )
    return [binaries["containerd"], f"--config={layout.config('containerd.toml')}"]


def name_service(layout: Layout, binaries: Binaries) -> list[str]:
    """Names of services; every other name is unknown."""
    layout.config("Corefile").write_text(
        f""".:{layout.ports["dns"]} {{
    bind {HOST}
    errors
    ready {LOOPBACK}:{layout.ports["dns-ready"]}
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {layout.root / "kubeconfig" / "dns"}
    }}
}}
"""
    )
    return [binaries["coredns"], "-conf", str(layout.config("Corefile"))]


def kwok(layout: Layout, binaries: Binaries) -> list[str]:
    """Plays the kubelet of the nodes that say they are fake, and of no other; it has their logs, too."""
    log = layout.root / "run" / "simulated.log"
    log.write_text(simulated.LOG)
    layout.config("kwok.yaml").write_text(simulated.life(log))
    return [
        binaries["kwok"],
        f"--config={layout.config('kwok.yaml')}",
        f"--kubeconfig={layout.kubeconfig}",
        "--manage-all-nodes=false",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        f"--node-ip={LOOPBACK}",
        "--node-name=localhost",
        f"--node-port={layout.ports['kwok']}",
        f"--server-address={LOOPBACK}:{layout.ports['kwok']}",
        f"--tls-cert-file={layout.pki('kubelet-server.crt')}",
        f"--tls-private-key-file={layout.pki('kubelet-server.key')}",
    ]


def kubelet(layout: Layout, binaries: Binaries, node: str = NODE) -> list[str]:
    """A node whose address is loopback is refused, so it waits for a cloud to name its addresses: that is us.

    Of a further node the pods have no place in the tree of control groups, which a kubelet clears of what it does not
    know; and only pods that ask for it come to it.
    """
    config, labels = _kubelet(layout), list[str]()
    if node != NODE:
        taint = {"key": MACHINE, "value": node, "effect": "NoSchedule"}
        config |= {"cgroupsPerQOS": False, "registerWithTaints": [taint]}
        labels = [f"--node-labels={MACHINE}={node}"]
    layout.config("kubelet.json").write_text(json.dumps(config, indent=1))
    return [
        binaries["kubelet"],
        f"--config={layout.config('kubelet.json')}",
        f"--kubeconfig={layout.root / 'kubeconfig' / 'kubelet'}",
        f"--hostname-override={node}",
        f"--root-dir={layout.root / 'kubelet'}",
        f"--cert-dir={layout.root / 'run'}",
        "--cloud-provider=external",
        *labels,
    ]


def _kubelet(layout: Layout) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{layout.containerd}",
        "address": LOOPBACK,
        "port": layout.ports["kubelet"],
        "healthzPort": 0,
        "tlsCertFile": str(layout.pki("kubelet-server.crt")),
        "tlsPrivateKeyFile": str(layout.pki("kubelet-server.key")),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.pki("ca.crt"))},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": DOMAIN,
        "resolvConf": "",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "maxPods": 200,
        "podLogsDir": str(layout.root / "logs" / "pods"),
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "serializeImagePulls": False,
        # images come from no registry: one that was collected would never come back
        "imageGCHighThresholdPercent": 100,
        "imageMinimumGCAge": "8760h",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "nodeStatusUpdateFrequency": "5s",
        "shutdownGracePeriod": "0s",
    }
