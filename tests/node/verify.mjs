// {"secret", "payload", "headers"} on standard input -> which of npm's libraries take the signature.
import { readFileSync } from "node:fs";
import { Resend } from "resend";
import * as standard from "standardwebhooks";
import * as svix from "svix";

const { secret, payload, headers } = JSON.parse(readFileSync(0, "utf8"));
const resend = new Resend("not needed");
const libraries = {
  standardwebhooks: () => new standard.Webhook(secret).verify(payload, headers),
  svix: () => new svix.Webhook(secret).verify(payload, headers),
  resend: () =>
    resend.webhooks.verify({
      payload,
      webhookSecret: secret,
      headers: {
        id: headers["svix-id"],
        timestamp: headers["svix-timestamp"],
        signature: headers["svix-signature"],
      },
    }),
};
const taken = Object.entries(libraries).filter(([, verify]) => {
  try {
    verify();
    return true;
  } catch {
    return false;
  }
});
console.log(JSON.stringify(taken.map(([name]) => name)));
