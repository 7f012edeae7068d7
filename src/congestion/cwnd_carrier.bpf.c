// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// (The kernel accepts such a program only under a license that is compatible with its
// own.)
//
// A congestion control without control: a socket that chooses it (TCP_CONGESTION) gets
// the window that the daemon has stored for it in `wanted`, and then chooses its real
// congestion control. See cwnd_carrier.h.
//
// The kernel's structures are declared here with only the members that are used. Their
// offsets are found when the program is loaded (CO-RE).
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define KERNEL_TYPE __attribute__((preserve_access_index))

struct sock {
  int unused;
} KERNEL_TYPE;

struct tcp_sock {
  __u32 snd_cwnd, snd_ssthresh;
} KERNEL_TYPE;

struct tcp_congestion_ops {
  void (*init)(struct sock*);
  __u32 (*ssthresh)(struct sock*);
  void (*cong_avoid)(struct sock*, __u32, __u32);
  __u32 (*undo_cwnd)(struct sock*);
  char name[16];
};

struct window {
  __u32 cwnd, ssthresh;
};

struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct window);
} wanted SEC(".maps");

SEC("struct_ops/init") void BPF_PROG(init, struct sock* sk) {
  struct tcp_sock* tcp = (struct tcp_sock*)sk;
  const struct window* window = bpf_sk_storage_get(&wanted, sk, 0, 0);
  if (!window) return;
  tcp->snd_cwnd = window->cwnd;
  tcp->snd_ssthresh = window->ssthresh;
}

// The kernel requires the other functions. No packet arrives while a socket has this
// congestion control.
SEC("struct_ops/ssthresh") __u32 BPF_PROG(ssthresh, struct sock* sk) {
  return ((struct tcp_sock*)sk)->snd_ssthresh;
}
SEC("struct_ops/cong_avoid") void BPF_PROG(cong_avoid, struct sock* sk, __u32 ack, __u32 acked) {}
SEC("struct_ops/undo_cwnd") __u32 BPF_PROG(undo_cwnd, struct sock* sk) {
  return ((struct tcp_sock*)sk)->snd_cwnd;
}

SEC(".struct_ops")
struct tcp_congestion_ops carrier = {
    .init = (void*)init,
    .ssthresh = (void*)ssthresh,
    .cong_avoid = (void*)cong_avoid,
    .undo_cwnd = (void*)undo_cwnd,
    // The loader writes a random name here: all network namespaces of a host share one
    // set of names.
    .name = "sockmi_........",
};

char _license[] SEC("license") = "Dual BSD/GPL";
