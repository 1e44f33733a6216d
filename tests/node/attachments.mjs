import assert from "node:assert/strict";
import { good, order, resend } from "./client.mjs";

const { id: emailId } = good(
  await resend.emails.send({
    ...order,
    attachments: [
      { filename: "order.txt", content: Buffer.from("seven") },
      { filename: "logo.png", content: "aGVsbG8=", contentType: "image/png", contentId: "logo" },
    ],
  }),
);
const { data } = good(await resend.emails.attachments.list({ emailId }));
assert.deepEqual(data.map((one) => one.filename), ["order.txt", "logo.png"]);
assert.deepEqual(data.map((one) => one.size), [5, 5]);
assert.deepEqual(data.map((one) => one.content_disposition), ["attachment", "inline"]);
const [file] = data;
const found = good(await resend.emails.attachments.get({ emailId, id: file.id }));
assert.equal(found.content_type, "text/plain");
// Whoever has the address may have the file, without a key.
const download = await fetch(found.download_url);
assert.equal(await download.text(), "seven");
