// Signs contents as the providers' own libraries do, and prints the fields of each as JSON.

import { createHmac } from "node:crypto";
import { sign } from "@octokit/webhooks-methods";
import bolt from "@slack/bolt";
import Stripe from "stripe";

const { secret, content, seconds } = JSON.parse(process.argv[2]);

const slack = {
  "x-slack-request-timestamp": String(seconds),
  "x-slack-signature": `v0=${createHmac("sha256", secret).update(`v0:${seconds}:${content}`).digest("hex")}`,
};
// Slack's library only verifies: what it takes is signed as Slack does it. It knows no other clock.
if (Math.abs(seconds - Date.now() / 1000) < 240) {
  bolt.verifySlackRequest({ signingSecret: secret, body: content, headers: { ...slack, "x-slack-request-timestamp": seconds } });
}

const stripe = new Stripe("sk_test_none").webhooks.generateTestHeaderString({
  payload: content,
  secret,
  timestamp: seconds,
});

console.log(
  JSON.stringify({
    github: { "x-hub-signature-256": await sign(secret, content) },
    slack,
    stripe: { "stripe-signature": stripe },
  }),
);
