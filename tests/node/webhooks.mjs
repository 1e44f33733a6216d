import assert from "node:assert/strict";
import { good, order, refused, resend } from "./client.mjs";

const { webhooks } = resend;
const endpoint = "https://127.0.0.1/hook";
const made = good(await webhooks.create({ endpoint, events: ["email.queued", "email.sent"] }));
assert.match(made.signing_secret, /^whsec_/);
const { id } = made;
const found = good(await webhooks.get(id));
assert.deepEqual([found.endpoint, found.status], [endpoint, "enabled"]);
assert.equal(found.signing_secret, made.signing_secret);
assert.deepEqual(good(await webhooks.list()).data.map((one) => one.id), [id]);

good(await resend.emails.send(order));
const { data: events } = good(await webhooks.events.list({ webhookId: id }));
assert.deepEqual(events.map((one) => one.type), ["email.queued"]);
const options = { webhookId: id, eventId: events[0].id };
assert.deepEqual(good(await webhooks.events.attempts.list(options)).data, []);
assert.equal(good(await webhooks.events.get(options)).id, options.eventId);
good(await webhooks.events.replay(options));

good(await webhooks.update(id, { status: "disabled" }));
assert.equal(good(await webhooks.get(id)).status, "disabled");
const rotated = good(await webhooks.rotateSigningSecret(id));
assert.notEqual(rotated.signing_secret, made.signing_secret);
assert.equal(good(await webhooks.remove(id)).deleted, true);
assert.equal(refused(await webhooks.get(id)), "not_found");
