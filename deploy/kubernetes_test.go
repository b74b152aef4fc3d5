package deploy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubernetes "sigs.k8s.io/yaml"
)

// networkPolicies returns those of a manifest.
func networkPolicies(t *testing.T, file string) (found []networkingv1.NetworkPolicy) {
	t.Helper()
	for text := range strings.SplitSeq(read(t, file), "\n---\n") {
		var meta metav1.TypeMeta
		if err := kubernetes.Unmarshal([]byte(text), &meta); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if meta.Kind != "NetworkPolicy" || meta.APIVersion != "networking.k8s.io/v1" {
			continue
		}
		var policy networkingv1.NetworkPolicy
		if err := kubernetes.UnmarshalStrict([]byte(text), &policy); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		found = append(found, policy)
	}
	return found
}

// Which pods reach the functions and the connector, each port by the pods that need it:
// no whole namespace, and no port that is not named.
func TestWhoReachesThePods(t *testing.T) {
	want := map[string][]string{
		"openfaas-fn/parkstream-functions 8080": {"openfaas app=gateway"},
		"openfaas-fn/parkstream-functions 8081": {"openfaas app=prometheus"},
		"openfaas/rabbitmq-connector http":      {"openfaas app=prometheus", "openfaas-fn faas_function=summary"},
	}
	got := make(map[string][]string)
	for _, file := range []string{"kubernetes/functions.yaml", "kubernetes/connector.yaml"} {
		for _, policy := range networkPolicies(t, file) {
			if !slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) || len(policy.Spec.PodSelector.MatchLabels) == 0 {
				t.Errorf("%s restricts no calls, or those of all pods", file)
			}
			for _, rule := range policy.Spec.Ingress {
				if len(rule.Ports) == 0 || len(rule.From) == 0 {
					t.Errorf("%s: a rule without ports or callers admits all", file)
				}
				for _, port := range rule.Ports {
					key := policy.Namespace + "/" + policy.Name + " " + port.Port.String()
					for _, peer := range rule.From {
						got[key] = append(got[key], caller(t, policy.Namespace, peer))
					}
					slices.Sort(got[key])
				}
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("who reaches what (-want +got):\n%s", diff)
	}
	// The pods are those that stack.yml labels, and Prometheus looks for their port.
	labels := networkPolicies(t, "kubernetes/functions.yaml")[0].Spec.PodSelector.MatchLabels
	if stack := read(t, "../stack.yml"); len(labels) != 1 || !strings.Contains(stack, "app.kubernetes.io/part-of: "+labels["app.kubernetes.io/part-of"]+"\n") {
		t.Errorf("stack.yml has not the labels %v", labels)
	}
	if !strings.Contains(read(t, "prometheus/kubernetes.yml"), "replacement: $1:8081\n") {
		t.Error("kubernetes.yml does not scrape the port 8081")
	}
}

func caller(t *testing.T, namespace string, peer networkingv1.NetworkPolicyPeer) string {
	t.Helper()
	if peer.IPBlock != nil || peer.PodSelector == nil || len(peer.PodSelector.MatchExpressions) > 0 || len(peer.PodSelector.MatchLabels) != 1 {
		t.Errorf("%+v is not one kind of pods", peer)
		return "anyone"
	}
	if peer.NamespaceSelector != nil {
		namespace = peer.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"]
	}
	label := slices.Collect(maps.Keys(peer.PodSelector.MatchLabels))[0]
	return fmt.Sprintf("%s %s=%s", namespace, label, peer.PodSelector.MatchLabels[label])
}
